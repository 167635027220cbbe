"""A bad teacher: does physics repair what it was taught, and when is a student better than its teacher?

    taskset -c 0 python benchmarks/studies/bad_teacher.py [--quick] [--only burgers]

Teachers are good, stopped early, too small, trained with a wrong coefficient, or noisy (normal noise of a tenth of the
solution's root mean square on every soft target). Each teaches students by five losses of the same wall seconds: the
teacher alone, teacher and physics with three ratios of their weights, and imitation followed by physics alone. The
student always has the right coefficient. Hard conditions, Levenberg–Marquardt.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _study import Results, Study, by, main, markdown, spread, timed
from distillation import teacher_only
from jax.tree_util import Partial
from matplotlib.figure import Figure

import kdpinn_jax as kd

PROBLEMS = ("burgers", "black_scholes")
#: Wall seconds of a good teacher, steps of one stopped early, hidden widths of one too small.
GOOD, EARLY, SMALL = 10.0, 15, (6,)
#: The coefficient that is wrong, and by what factor.
WRONG = {"burgers": ("nu", 2.0), "black_scholes": ("sigma", 1.25)}
#: Standard deviation of the noise over the root mean square of the solution.
NOISE = 0.1
#: Wall seconds of a student.
SECONDS = 5.0
TEACHERS = ("good", "stopped early", "too small", "wrong coefficient", "noisy")
#: w_KD beside w_PDE = 1.
WEIGHTS = {"w_KD/w_PDE = 100": 100.0, "w_KD/w_PDE = 1": 1.0, "w_KD/w_PDE = 0.01": 0.01}
LOSSES = ("teacher only", *WEIGHTS, "imitate, then physics")


@lru_cache(maxsize=len(TEACHERS))
def teacher_of(name: str, kind: str, seed: int, quick: bool) -> kd.Model:
    """The teacher of a kind; a noisy one is the good one, and its targets are spoilt later."""
    if kind == "noisy":
        return teacher_of(name, "good", seed, quick)
    problem = kd.problems.ALL[name]
    (stage,) = kd.recipe(problem, "default", "quick").teacher
    wrong, factor = WRONG[name]
    return kd.train_teacher(
        problem,
        jax.random.split(jax.random.key(seed))[0],
        network=kd.MLP(SMALL) if kind == "too small" else problem.teacher,
        stages=(replace(stage, steps=EARLY) if kind == "stopped early" else stage,),
        coefficients={wrong: factor * problem.coefficients[wrong]} if kind == "wrong coefficient" else None,
        time_budget=2.0 if quick else GOOD,
        progress=False,
    )


def noisy(term: kd.Term, d: int, sigma: float) -> kd.Term:
    """A soft-target term whose targets carry normal noise of this standard deviation, drawn anew with the points."""
    return replace(term, sample=Partial(partial(_sample_noisy, d), term.sample, jnp.asarray(sigma)))


def _sample_noisy(d: int, sample: Callable[..., jax.Array], sigma: jax.Array, key: jax.Array, n: int) -> jax.Array:
    key_points, key_noise = jax.random.split(key)
    rows = sample(key_points, n)
    return rows.at[:, d:].add(sigma.astype(rows.dtype) * jax.random.normal(key_noise, rows[:, d:].shape, rows.dtype))


def targets(teacher: kd.Model, kind: str, size: float) -> kd.Term:
    """The soft targets of a kind of teacher, for a solution of this root mean square."""
    term = kd.soft_target(teacher)
    return noisy(term, len(teacher.problem.axes), NOISE * size) if kind == "noisy" else term


def student_of(teacher: kd.Model, taught: kd.Term, loss: str, key: jax.Array, seconds: float) -> kd.Model:
    """A student by one of the losses, with the problem's own coefficients."""
    problem = teacher.problem
    recipe = kd.recipe(problem, "default", "quick")
    right = dict(problem.coefficients)
    if loss == "teacher only":
        return timed(lambda s: teacher_only(replace(teacher, coefficients=right), key, s, taught), seconds)
    weights = {"soft_target": WEIGHTS[loss]} if loss in WEIGHTS else {}
    imitate = () if loss in WEIGHTS else recipe.imitate
    distil = partial(kd.distill, teacher, key, imitate=imitate, stages=recipe.student, weights=weights)
    distil = partial(distil, coefficients=right, terms={"soft_target": taught}, progress=False)
    return timed(lambda s: distil(time_budget=s), seconds)


def one(name: str, kind: str, seed: int, quick: bool) -> dict[str, Any]:
    """A teacher of one kind and its students by every loss."""
    teacher = teacher_of(name, kind, seed, quick)
    problem = teacher.problem
    # What it teaches, its own coefficients in its ansatz, against the right solution.
    told = kd.evaluate(replace(teacher, coefficients=dict(problem.coefficients)), predict=teacher)
    size = told.rmse / told.relative_l2
    error = float(np.hypot(told.rmse, NOISE * size)) if kind == "noisy" else told.rmse
    taught = targets(teacher, kind, size)
    key = jax.random.split(jax.random.key(seed))[1]
    students = {loss: student_of(teacher, taught, loss, key, 1.0 if quick else SECONDS) for loss in LOSSES}
    return {
        "problem": name,
        "teacher": kind,
        "seed": seed,
        "rmse": error,
        "students": {loss: kd.evaluate(student).rmse for loss, student in students.items()},
    }


def tables(results: Results) -> dict[str, str]:
    made = {}
    for (name,), runs_of in by(results, "problem").items():
        rows = []
        for kind in TEACHERS:
            if runs := [run for run in runs_of if run["teacher"] == kind]:
                ratios = [spread([run["students"][loss] / run["rmse"] for run in runs], ".2g") for loss in LOSSES]
                rows.append([kind, spread([run["rmse"] for run in runs]), *ratios])
        made[name] = markdown(["teacher", "its RMSE", *LOSSES], rows)
    return made


def picture(results: Results) -> Figure:
    groups = by(results, "problem")
    figure = Figure(figsize=(5.6 * len(groups), 3.8), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for panel, ((name,), runs_of) in zip(panels, groups.items(), strict=True):
        for number, kind in enumerate(TEACHERS):
            runs = [run for run in runs_of if run["teacher"] == kind]
            for place, loss in enumerate(LOSSES):
                x = [place + 0.12 * (number - 2)] * len(runs)
                y = [run["students"][loss] / run["rmse"] for run in runs]
                panel.scatter(x, y, color=f"C{number}", s=14, label=kind if not place and runs else None)
        panel.axhline(1, color="grey", linewidth=0.8)
        panel.set(yscale="log", title=name, ylabel="student's RMSE / teacher's")
        panel.set_xticks(range(len(LOSSES)), [loss.replace(" = ", "\n= ") for loss in LOSSES], fontsize=7)
    panels[0].legend(fontsize=7)
    return figure


def cases(seeds: Sequence[int], quick: bool) -> dict[str, Callable[[], dict[str, Any]]]:
    kinds = ("stopped early", "noisy") if quick else TEACHERS
    return {
        f"{name}-{seed}-{kind.replace(' ', '_')}": partial(one, name, kind, seed, quick)
        for seed in seeds
        for name in (PROBLEMS[:1] if quick else PROBLEMS)
        for kind in kinds
    }


STUDY = Study("bad_teacher", cases, tables, picture)

if __name__ == "__main__":
    main(STUDY, __doc__)
