"""Whether the teacher's gradient dominates early, is less noisy, and makes the loss landscape flatter.

    taskset -c 0 python benchmarks/studies/gradients.py [--quick] [--only burgers]

The recipe is the paper's, with soft conditions and w_KD = 1: Adam with a constant learning rate, then L-BFGS. During
the training of a student with a teacher, ``gradient_diagnostics`` and ``gradient_noise`` measure the share of every
term in the norm of the gradient, the spread of the gradients over draws of the points, and the angle between the
gradients of distillation and of physics. At the end, ``hessian_eigenvalues`` gives the largest eigenvalues of the
Hessian of the physics loss for the teacher and for students with and without it.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _study import Cases, Result, Results, Study, by, main, markdown, spread
from matplotlib.figure import Figure

import kdpinn_jax as kd
from kdpinn_jax.base.types import Params
from kdpinn_jax.training.objective import only

PROBLEMS = ("burgers", "black_scholes")
#: Steps of Adam and of L-BFGS for a student, and for the teacher.
ADAM, LBFGS = 1000, 400
TEACHER = (500, 800)
#: Steps after which the gradients are measured, and the number of draws of the points for their noise.
MEASURED, DRAWS = (0, 10, 30, 100, 300, 1000, 1400), 16
RECORD_EVERY = 10
#: The number of eigenvalues, and of Hessian-vector products to compute them.
COUNT, ITERATIONS = 5, 60
CONSTANT = optax.constant_schedule(1.0)


def stages(adam: int, lbfgs: int) -> tuple[kd.Stage, ...]:
    return kd.Adam(adam, 2e-3, schedule=CONSTANT), kd.LBFGS(lbfgs, sampling=kd.Sampling(every=200))


def train(target: kd.Objective, key: jax.Array, chosen_stages: tuple[kd.Stage, ...]) -> dict[int, Params]:
    """``{step: parameters}``, every RECORD_EVERY steps, with the initial ones as step 0."""
    key_init, key_fit = jax.random.split(key)
    path = [kd.init_params(target.problem, target.network, key_init)]

    def keep(params: Params) -> jax.Array:
        path.append(params)
        return jnp.nan * jnp.zeros(())

    fit = kd.fit(target, path[0], key_fit, chosen_stages, progress=False, monitor=keep, record_every=RECORD_EVERY)
    steps, stage_start = [0], 0
    for report in fit.stages:
        steps += [stage_start + int(step) for step in report.record_steps]
        stage_start += int(report.steps)
    return dict(zip(steps, path, strict=True))


def run_case(name: str, seed: int, quick: bool) -> Result:
    problem = kd.with_conditions(kd.problems.ALL[name], "soft")
    key_teacher, key, key_look = jax.random.split(jax.random.key(seed), 3)
    shorter = 50 if quick else 1
    teacher = kd.train_teacher(
        problem, key_teacher, stages=stages(*(max(2, n // shorter) for n in TEACHER)), progress=False
    )
    physics = kd.objective(problem, problem.student)
    with_teacher = kd.objective(
        problem, problem.student, terms={"soft_target": kd.soft_target(teacher)}, weights={"soft_target": 1.0}
    )
    chosen_stages = stages(max(2, ADAM // shorter), max(2, LBFGS // shorter))
    path, path_alone = train(with_teacher, key, chosen_stages), train(physics, key, chosen_stages)
    steps = sorted({min(path, key=lambda s, wanted=wanted: abs(s - wanted // shorter)) for wanted in MEASURED})
    ends = {
        "teacher": (kd.objective(problem, problem.teacher), teacher.params),
        "student with teacher": (physics, path[max(path)]),
        "student without teacher": (physics, path_alone[max(path_alone)]),
    }
    return {
        "problem": name,
        "seed": seed,
        "looks": {step: look(with_teacher, path[step], key_look) for step in steps},
        "ends": {network: curvature(*end, key_look) | errors(*end) for network, end in ends.items()},
    }


def look(target: kd.Objective, params: Params, key: jax.Array) -> Result:
    """Shares, noise and angle; ``conditions`` sums up all terms except those of the PDE and the teacher."""
    key_points, key_noise = jax.random.split(key)
    points = kd.sample(target, key_points)
    diagnostics = kd.gradient_diagnostics(target, params, points)
    noise = kd.gradient_noise(target, params, key_noise, draws=DRAWS)
    shares = {term: float(share) for term, share in diagnostics.shares.items()}
    return {
        "shares": {
            "soft_target": shares.pop("soft_target"),
            "residual": shares.pop("residual"),
            "conditions": sum(shares.values()),
        },
        "noise": {term: float(noise[term]) for term in ("soft_target", "residual")},
        "cosine": float(diagnostics.against_rest["soft_target"]),
    }


def curvature(target: kd.Objective, params: Params, key: jax.Array) -> Result:
    """The physics loss, and the largest eigenvalues of its Hessian."""
    physics = only(target, *(name for name in target.terms if name != "soft_target"))
    points = kd.sample(physics, key)
    eigenvalues = kd.hessian_eigenvalues(physics, params, points, key, count=COUNT, iterations=ITERATIONS)
    return {"loss": float(kd.loss(physics, params, points)), "eigenvalues": [float(value) for value in eigenvalues]}


def errors(target: kd.Objective, params: Params) -> Result:
    """The RMSE inside the domain and beyond it."""
    metrics = kd.evaluate(kd.Model(target.problem, target.network, params, target.coefficients))
    beyond = {region: by_quantity[metrics.quantity].rmse for region, by_quantity in metrics.extrapolation.items()}
    return {"rmse": metrics.rmse, "extrapolation": beyond}


def tables(results: Results) -> dict[str, str]:
    by_marker = {}
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
        shares_head = ["share of KD", "share of the PDE", "share of conditions"]
        head = ["step", *shares_head, "noise of KD", "noise of the PDE", "cos(KD, physics)"]
        by_marker[f"{name}: gradients"] = markdown(head, rows)
        rows = []
        for network in runs[0]["ends"]:
            ends = [run["ends"][network] for run in runs]
            eigenvalues = [spread([end["eigenvalues"][k] for end in ends]) for k in (0, 1, COUNT - 1)]
            rows.append([network, *(spread([end[key] for end in ends]) for key in ("rmse", "loss")), *eigenvalues])
        head = ["network", "RMSE", "physics loss", "λ₁", "λ₂", f"λ_{COUNT}"]
        by_marker[f"{name}: curvature"] = markdown(head, rows)
    return by_marker


def picture(results: Results) -> Figure:
    groups = by(results, "problem")
    figure = Figure(figsize=(4.6 * len(groups), 7.0), layout="constrained")
    panels = figure.subplots(3, len(groups), squeeze=False, sharex=True)
    for column, ((name,), runs) in enumerate(groups.items()):
        steps = list(runs[0]["looks"])
        x = [max(int(step), 1) for step in steps]

        def medians(
            value: Callable[[Result], float], runs: list[Result] = runs, steps: list[str] = steps
        ) -> list[float]:
            return [float(np.median([value(run["looks"][step]) for run in runs])) for step in steps]

        for i, term in enumerate(("soft_target", "residual", "conditions")):
            shares = medians(lambda look, term=term: look["shares"][term])
            panels[0, column].plot(x, shares, "o-", color=f"C{i}", label=term)
            if term != "conditions":
                noise = medians(lambda look, term=term: look["noise"][term])
                panels[1, column].plot(x, noise, "o-", color=f"C{i}")
        panels[2, column].plot(x, medians(lambda look: look["cosine"]), "ko-")
        panels[2, column].axhline(0, color="grey", linewidth=0.6)
        panels[0, column].set(xscale="log", title=name, ylabel="share of the gradient norm")
        panels[1, column].set(yscale="log", ylabel="noise")
        panels[2, column].set(ylim=(-1, 1), ylabel="cos(KD, physics)", xlabel="step")
    panels[0, 0].legend(fontsize=7)
    return figure


def cases(seeds: Sequence[int], quick: bool) -> Cases:
    return {
        f"{name}-{seed}": functools.partial(run_case, name, seed, quick)
        for seed in seeds
        for name in (PROBLEMS[:1] if quick else PROBLEMS)
    }


STUDY = Study("gradients", cases, tables, picture)

if __name__ == "__main__":
    main(STUDY, __doc__)
