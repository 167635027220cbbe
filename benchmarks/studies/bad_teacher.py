"""A bad teacher: does physics correct what a student learnt from it, and when is a student better than its teacher?

    taskset -c 0 python benchmarks/studies/bad_teacher.py [--quick] [--only burgers]

Teachers are good, stopped early, too small, trained with a wrong coefficient, or noisy (normal noise of a tenth of the
solution's root mean square on every soft target). For each teacher, students are trained in equal wall time by five
losses: the teacher alone, teacher and physics with three ratios of their weights, and imitation followed by physics
alone. The student always has the right coefficient. All trainings use hard conditions and Levenberg–Marquardt.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from _study import Cases, Result, Results, Study, by, main, markdown, spread, train_compiled
from distillation import teacher_only
from jax.tree_util import Partial
from matplotlib.figure import Figure

import kdpinn_jax as kd

PROBLEMS = ("burgers", "black_scholes")
#: Wall seconds of a good teacher, steps of one that is stopped early, hidden widths of one that is too small.
GOOD, EARLY, SMALL = 10.0, 15, (6,)
#: The wrong coefficient and its factor.
WRONG = {"burgers": ("nu", 2.0), "black_scholes": ("sigma", 1.25)}
#: Standard deviation of the noise divided by the root mean square of the solution.
NOISE = 0.1
#: Wall seconds of a student.
SECONDS = 5.0
TEACHERS = ("good", "stopped early", "too small", "wrong coefficient", "noisy")
#: w_KD; w_PDE = 1.
WEIGHTS = {"w_KD/w_PDE = 100": 100.0, "w_KD/w_PDE = 1": 1.0, "w_KD/w_PDE = 0.01": 0.01}
LOSSES = ("teacher only", *WEIGHTS, "imitate, then physics")


@lru_cache(maxsize=len(TEACHERS))
def teacher_of(name: str, kind: str, seed: int, quick: bool) -> kd.Model:
    """The teacher of a kind. The noisy one is the good one; noise is added to its targets later."""
    if kind == "noisy":
        return teacher_of(name, "good", seed, quick)
    problem = kd.problems.ALL[name]
    (stage,) = kd.recipe(problem, "default", "quick").teacher
    coefficient, factor = WRONG[name]
    return kd.train_teacher(
        problem,
        jax.random.split(jax.random.key(seed))[0],
        network=kd.MLP(SMALL) if kind == "too small" else problem.teacher,
        stages=(replace(stage, steps=EARLY) if kind == "stopped early" else stage,),
        coefficients={coefficient: factor * problem.coefficients[coefficient]} if kind == "wrong coefficient" else None,
        time_budget=2.0 if quick else GOOD,
        progress=False,
    )


def noisy(term: kd.Term, d: int, sigma: float) -> kd.Term:
    """A soft-target term with normal noise of this standard deviation on its targets, redrawn with the points."""
    return replace(term, sample=Partial(partial(_sample_noisy, d), term.sample, jnp.asarray(sigma)))


def _sample_noisy(d: int, sample: Callable[..., jax.Array], sigma: jax.Array, key: jax.Array, n: int) -> jax.Array:
    key_points, key_noise = jax.random.split(key)
    rows = sample(key_points, n)
    return rows.at[:, d:].add(sigma.astype(rows.dtype) * jax.random.normal(key_noise, rows[:, d:].shape, rows.dtype))


def targets(teacher: kd.Model, kind: str, size: float) -> kd.Term:
    """The soft targets of a kind of teacher; ``size`` is the root mean square of the solution."""
    term = kd.soft_target(teacher)
    return noisy(term, len(teacher.problem.axes), NOISE * size) if kind == "noisy" else term


def student_of(teacher: kd.Model, soft_targets: kd.Term, loss: str, key: jax.Array, seconds: float) -> kd.Model:
    """A student trained by one of the losses, with the problem's own coefficients."""
    problem = teacher.problem
    recipe = kd.recipe(problem, "default", "quick")
    coefficients = dict(problem.coefficients)
    if loss == "teacher only":
        corrected = replace(teacher, coefficients=coefficients)
        return train_compiled(lambda s: teacher_only(corrected, key, s, soft_targets), seconds)
    weights = {"soft_target": WEIGHTS[loss]} if loss in WEIGHTS else {}
    imitate = () if loss in WEIGHTS else recipe.imitate
    distil = partial(kd.distill, teacher, key, imitate=imitate, stages=recipe.student, weights=weights)
    distil = partial(distil, coefficients=coefficients, terms={"soft_target": soft_targets}, progress=False)
    return train_compiled(lambda s: distil(time_budget=s), seconds)


def run_case(name: str, kind: str, seed: int, quick: bool) -> Result:
    """A teacher of one kind, and one student per loss."""
    teacher = teacher_of(name, kind, seed, quick)
    problem = teacher.problem
    # The teacher predicts with its own coefficients in its ansatz, and is compared with the right solution.
    metrics = kd.evaluate(replace(teacher, coefficients=dict(problem.coefficients)), predict=teacher)
    size = metrics.rmse / metrics.relative_l2
    error = float(np.hypot(metrics.rmse, NOISE * size)) if kind == "noisy" else metrics.rmse
    soft_targets = targets(teacher, kind, size)
    key = jax.random.split(jax.random.key(seed))[1]
    students = {loss: student_of(teacher, soft_targets, loss, key, 1.0 if quick else SECONDS) for loss in LOSSES}
    return {
        "problem": name,
        "teacher": kind,
        "seed": seed,
        "rmse": error,
        "students": {loss: kd.evaluate(student).rmse for loss, student in students.items()},
    }


def tables(results: Results) -> dict[str, str]:
    by_problem = {}
    for (name,), problem_runs in by(results, "problem").items():
        rows = []
        for kind in TEACHERS:
            if runs := [run for run in problem_runs if run["teacher"] == kind]:
                ratios = [spread([run["students"][loss] / run["rmse"] for run in runs], ".2g") for loss in LOSSES]
                rows.append([kind, spread([run["rmse"] for run in runs]), *ratios])
        by_problem[name] = markdown(["teacher", "teacher's RMSE", *LOSSES], rows)
    return by_problem


def picture(results: Results) -> Figure:
    groups = by(results, "problem")
    figure = Figure(figsize=(5.6 * len(groups), 3.8), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for panel, ((name,), problem_runs) in zip(panels, groups.items(), strict=True):
        for i, kind in enumerate(TEACHERS):
            runs = [run for run in problem_runs if run["teacher"] == kind]
            for j, loss in enumerate(LOSSES):
                x = [j + 0.12 * (i - 2)] * len(runs)
                y = [run["students"][loss] / run["rmse"] for run in runs]
                panel.scatter(x, y, color=f"C{i}", s=14, label=kind if not j and runs else None)
        panel.axhline(1, color="grey", linewidth=0.8)
        panel.set(yscale="log", title=name, ylabel="RMSE, student / teacher")
        panel.set_xticks(range(len(LOSSES)), [loss.replace(" = ", "\n= ") for loss in LOSSES], fontsize=7)
    panels[0].legend(fontsize=7)
    return figure


def cases(seeds: Sequence[int], quick: bool) -> Cases:
    kinds = ("stopped early", "noisy") if quick else TEACHERS
    return {
        f"{name}-{seed}-{kind.replace(' ', '_')}": partial(run_case, name, kind, seed, quick)
        for seed in seeds
        for name in (PROBLEMS[:1] if quick else PROBLEMS)
        for kind in kinds
    }


STUDY = Study("bad_teacher", cases, tables, picture)

if __name__ == "__main__":
    main(STUDY, __doc__)
