"""Does the teacher's gradient dominate early, is it less noisy, and is the landscape flatter with it?

    taskset -c 0 python benchmarks/studies/gradients.py [--quick] [--only burgers]

The paper's recipe, soft conditions, w_KD = 1: Adam with a constant learning rate, then L-BFGS. Along the way of a
student with its teacher (``gradient_diagnostics``, ``gradient_noise``): the share of every term in the gradient's norm,
how far the gradients stray when points are drawn anew, and the angle between the gradients of distillation and of
physics. At the end (``hessian_eigenvalues``): the largest eigenvalues of the physics loss's Hessian for the teacher and
for students with and without it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _study import Results, Study, by, main, markdown, spread
from matplotlib.figure import Figure

import kdpinn_jax as kd
from kdpinn_jax.base.types import Params
from kdpinn_jax.training.objective import only

PROBLEMS = ("burgers", "black_scholes")
#: Steps of Adam and of L-BFGS, of the teacher and of a student.
ADAM, LBFGS = 1000, 400
TEACHER = (500, 800)
#: Steps after which the gradients are looked at, and draws of points for their noise.
LOOKS, DRAWS = (0, 10, 30, 100, 300, 1000, 1400), 16
RECORD_EVERY = 10
#: Eigenvalues, and Hessian-vector products for them.
COUNT, ITERATIONS = 5, 60
CONSTANT = optax.constant_schedule(1.0)


def stages(adam: int, lbfgs: int) -> tuple[kd.Stage, ...]:
    return kd.Adam(adam, 2e-3, schedule=CONSTANT), kd.LBFGS(lbfgs, sampling=kd.Sampling(every=200))


def trained(target: kd.Objective, key: jax.Array, chosen: tuple[kd.Stage, ...]) -> dict[int, Params]:
    """Parameters after every RECORD_EVERY steps, 0 included."""
    key_init, key_fit = jax.random.split(key)
    kept = [kd.init_params(target.problem, target.network, key_init)]

    def keep(params: Params) -> jax.Array:
        kept.append(params)
        return jnp.nan * jnp.zeros(())

    fit = kd.fit(target, kept[0], key_fit, chosen, progress=False, monitor=keep, record_every=RECORD_EVERY)
    steps, begun = [0], 0
    for report in fit.stages:
        steps += [begun + int(step) for step in report.record_steps]
        begun += int(report.steps)
    return dict(zip(steps, kept, strict=True))


def one(name: str, seed: int, quick: bool) -> dict[str, Any]:
    problem = kd.with_conditions(kd.problems.ALL[name], "soft")
    key_teacher, key, key_look = jax.random.split(jax.random.key(seed), 3)
    shorter = 50 if quick else 1
    teacher = kd.train_teacher(
        problem, key_teacher, stages=stages(*(max(2, n // shorter) for n in TEACHER)), progress=False
    )
    alone = kd.objective(problem, problem.student)
    taught = kd.objective(
        problem, problem.student, terms={"soft_target": kd.soft_target(teacher)}, weights={"soft_target": 1.0}
    )
    chosen = stages(max(2, ADAM // shorter), max(2, LBFGS // shorter))
    ways = {"with": trained(taught, key, chosen), "without": trained(alone, key, chosen)}
    way = ways["with"]
    looks = {}
    for step in sorted({min(way, key=lambda s, look=look: abs(s - look // shorter)) for look in LOOKS}):
        looks[step] = look(taught, way[step], key_look)
    ends = {"teacher": (kd.objective(problem, problem.teacher), teacher.params)}
    ends |= {f"student {which} teacher": (alone, way[max(way)]) for which, way in ways.items()}
    return {
        "problem": name,
        "seed": seed,
        "looks": looks,
        "ends": {which: curvature(*end, key_look) | errors(*end) for which, end in ends.items()},
    }


def look(target: kd.Objective, params: Params, key: jax.Array) -> dict[str, Any]:
    """Shares, noise and angle; ``conditions`` are all terms but the PDE's and the teacher's, together."""
    key_points, key_noise = jax.random.split(key)
    points = kd.sample(target, key_points)
    found = kd.gradient_diagnostics(target, params, points)
    noise = kd.gradient_noise(target, params, key_noise, draws=DRAWS)
    shares = {term: float(share) for term, share in found.shares.items()}
    return {
        "shares": {
            "soft_target": shares.pop("soft_target"),
            "residual": shares.pop("residual"),
            "conditions": sum(shares.values()),
        },
        "noise": {term: float(noise[term]) for term in ("soft_target", "residual")},
        "cosine": float(found.against_rest["soft_target"]),
    }


def curvature(target: kd.Objective, params: Params, key: jax.Array) -> dict[str, Any]:
    """Of the physics loss: itself, and its largest eigenvalues."""
    physics = only(target, *(name for name in target.terms if name != "soft_target"))
    points = kd.sample(physics, key)
    eigenvalues = kd.hessian_eigenvalues(physics, params, points, key, count=COUNT, iterations=ITERATIONS)
    return {"loss": float(kd.loss(physics, params, points)), "eigenvalues": [float(value) for value in eigenvalues]}


def errors(target: kd.Objective, params: Params) -> dict[str, Any]:
    """RMSE inside the domain and beyond it."""
    found = kd.evaluate(kd.Model(target.problem, target.network, params, target.coefficients))
    beyond = {name: errors[found.quantity].rmse for name, errors in found.extrapolation.items()}
    return {"rmse": found.rmse, "extrapolation": beyond}


def tables(results: Results) -> dict[str, str]:
    made = {}
    for (name,), runs in by(results, "problem").items():
        rows = []
        for step in runs[0]["looks"]:
            looks = [run["looks"][step] for run in runs]
            shares = [
                spread([look["shares"][term] for look in looks], ".2f")
                for term in ("soft_target", "residual", "conditions")
            ]
            noise = [spread([look["noise"][term] for look in looks], ".2g") for term in ("soft_target", "residual")]
            rows.append([str(step), *shares, *noise, spread([look["cosine"] for look in looks], ".2f")])
        head = ["step", "share of KD", "of the PDE", "of conditions", "noise of KD", "of the PDE", "cos(KD, physics)"]
        made[f"{name}: gradients"] = markdown(head, rows)
        rows = []
        for which in runs[0]["ends"]:
            ends = [run["ends"][which] for run in runs]
            eigenvalues = [spread([end["eigenvalues"][k] for end in ends]) for k in (0, 1, COUNT - 1)]
            rows.append([which, *(spread([end[key] for end in ends]) for key in ("rmse", "loss")), *eigenvalues])
        made[f"{name}: curvature"] = markdown(["network", "RMSE", "physics loss", "λ₁", "λ₂", f"λ_{COUNT}"], rows)
    return made


def picture(results: Results) -> Figure:
    groups = by(results, "problem")
    figure = Figure(figsize=(4.6 * len(groups), 7.0), layout="constrained")
    panels = figure.subplots(3, len(groups), squeeze=False, sharex=True)
    for column, ((name,), runs) in enumerate(groups.items()):
        steps = list(runs[0]["looks"])
        x = [max(int(step), 1) for step in steps]

        def median(value: Callable[[dict[str, Any]], float], runs: Any = runs, steps: Any = steps) -> list[float]:
            return [float(np.median([value(run["looks"][step]) for run in runs])) for step in steps]

        for number, term in enumerate(("soft_target", "residual", "conditions")):
            shares = median(lambda look, term=term: look["shares"][term])
            panels[0, column].plot(x, shares, "o-", color=f"C{number}", label=term)
            if term != "conditions":
                noise = median(lambda look, term=term: look["noise"][term])
                panels[1, column].plot(x, noise, "o-", color=f"C{number}")
        panels[2, column].plot(x, median(lambda look: look["cosine"]), "ko-")
        panels[2, column].axhline(0, color="grey", linewidth=0.6)
        panels[0, column].set(xscale="log", title=name, ylabel="share of the gradient's norm")
        panels[1, column].set(yscale="log", ylabel="noise")
        panels[2, column].set(ylim=(-1, 1), ylabel="cos(KD, physics)", xlabel="steps")
    panels[0, 0].legend(fontsize=7)
    return figure


def cases(seeds: Sequence[int], quick: bool) -> dict[str, Callable[[], dict[str, Any]]]:
    return {
        f"{name}-{seed}": functools.partial(one, name, seed, quick)
        for seed in seeds
        for name in (PROBLEMS[:1] if quick else PROBLEMS)
    }


STUDY = Study("gradients", cases, tables, picture)

if __name__ == "__main__":
    main(STUDY, __doc__)
