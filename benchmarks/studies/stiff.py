"""A stiff system: teacher and student of FitzHugh–Nagumo as its two time scales move apart.

    taskset -c 0 python benchmarks/studies/stiff.py [--quick]

The fast reaction is 1/ε times as fast as the slow one. For each of three values of ε, a teacher, a student that
imitates it and then learns from physics, and a student alone are trained by Levenberg–Marquardt with hard conditions.
Both students have the same wall time.
"""

import functools
from collections.abc import Sequence

import jax
import numpy as np
from _study import Cases, Result, Results, Study, by, curve, main, markdown, spread, train_compiled
from matplotlib.figure import Figure

import kdpinn_jax as kd

PROBLEM = kd.problems.ALL["fitzhugh_nagumo"]
#: The problem's own ε, and two others.
EPSILONS = (0.05, 0.03, 0.02)
#: Wall seconds of the teacher and of a student.
TEACHER, STUDENT = 12.0, 10.0
ROLES = ("teacher", "student", "student alone")


def run_case(epsilon: float, seed: int, quick: bool) -> Result:
    teacher_seconds, student_seconds = (1.0, 1.0) if quick else (TEACHER, STUDENT)
    key_teacher, key = jax.random.split(jax.random.key(seed))
    recipe = kd.recipe(PROBLEM, "default", "quick")
    train = functools.partial(kd.train_teacher, PROBLEM, key_teacher, stages=recipe.teacher, progress=False)
    train = functools.partial(train, coefficients={"epsilon": epsilon}, track_error=True)
    teacher = train_compiled(lambda s: train(time_budget=s), teacher_seconds)
    distil = functools.partial(kd.distill, teacher, key, stages=recipe.student, progress=False, track_error=True)
    student = train_compiled(lambda s: distil(imitate=recipe.imitate, time_budget=s), student_seconds)
    alone = train_compiled(lambda s: distil(imitate=(), time_budget=s), student_seconds)
    models = dict(zip(ROLES, (teacher, student, alone), strict=True))
    return {
        "epsilon": epsilon,
        "seed": seed,
        "errors": {name: kd.evaluate(model).relative_l2 for name, model in models.items()},
        "steps": {name: sum(int(report.steps) for report in model.training) for name, model in models.items()},
        "curves": {name: curve(model, "relative_l2") for name, model in models.items()},
    }


def tables(results: Results) -> dict[str, str]:
    rows = [
        [f"{epsilon:g}", *(spread([run["errors"][name] for run in runs]) for name in ROLES)]
        for (epsilon,), runs in by(results, "epsilon").items()
    ]
    return {"stiff": markdown(["ε", *ROLES], rows)}


def picture(results: Results) -> Figure:
    groups = by(results, "epsilon")
    figure = Figure(figsize=(4 * len(groups), 3.6), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False, sharey=True)[0]
    for panel, ((epsilon,), runs) in zip(panels, groups.items(), strict=True):
        for i, name in enumerate(ROLES):
            for j, run in enumerate(runs):
                x, y = run["curves"][name]["seconds"], run["curves"][name]["relative_l2"]
                y = [np.nan if value is None else value for value in y]
                panel.plot(x, y, color=f"C{i}", linewidth=0.9, label=None if j else name)
        panel.set(xscale="log", yscale="log", xlabel="wall seconds", title=f"ε = {epsilon:g}")
    panels[0].set_ylabel("relative L2 error")
    panels[0].legend(fontsize=8)
    return figure


def cases(seeds: Sequence[int], quick: bool) -> Cases:
    return {
        f"{epsilon:g}-{seed}": functools.partial(run_case, epsilon, seed, quick)
        for seed in seeds
        for epsilon in (EPSILONS[:1] if quick else EPSILONS)
    }


STUDY = Study("stiff", cases, tables, picture)

if __name__ == "__main__":
    main(STUDY, __doc__)
