"""What does distillation buy, and when? Students with and without a teacher, at equal time and at equal steps.

    taskset -c 0 python benchmarks/studies/distillation.py [--quick] [--only burgers]

For every problem and seed a teacher is trained, and then, from the same initial parameters, students: by imitation and
then physics (the library's default), on physics and teacher together (the paper's loss), on the teacher alone, and with
Sobolev terms. One more student has no teacher, and the seconds of teacher and student together; what it had reached in
the student's seconds, and after as many steps as the default student took, is read from its history. All by
Levenberg–Marquardt.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
from _study import Results, Study, by, curve, main, markdown, spread, timed
from matplotlib.figure import Figure

import kdpinn_jax as kd
from kdpinn_jax.training.distill import IMITATE
from kdpinn_jax.training.monitor import error_monitor

#: Wall seconds of the teacher, and of each student: the flows have dearer steps.
CHEAP, DEAR = (20.0, 6.0), (30.0, 12.0)
SECONDS = {name: DEAR if name in ("taylor_green", "lid_driven_cavity") else CHEAP for name in kd.problems.ALL}
#: Weight of the teacher's slopes beside its values, and the points where they are asked.
SOBOLEV, SOBOLEV_POINTS = 0.1, 1024
#: Errors whose time is told.
LEVELS = (1e-1, 1e-2, 1e-3, 1e-4)
STUDENTS = ("imitate, then physics", "physics + teacher", "teacher only", "Sobolev, then physics", "no teacher")


def one(problem: kd.Problem, seed: int, of_teacher: float, seconds: float) -> dict[str, Any]:
    """The teacher and every student of one seed, in so many seconds each."""
    key_teacher, key = jax.random.split(jax.random.key(seed))
    recipe = kd.recipe(problem, "default", "quick")
    teacher = timed(
        lambda s: kd.train_teacher(
            problem, key_teacher, stages=recipe.teacher, time_budget=s, progress=False, track_error=True
        ),
        of_teacher,
    )
    distil = partial(kd.distill, teacher, key, stages=recipe.student, progress=False, track_error=True)
    slopes = kd.soft_target(teacher, sobolev=SOBOLEV, count=SOBOLEV_POINTS)
    students: dict[str, Callable[[float], kd.Model]] = {
        "imitate, then physics": lambda s: distil(imitate=recipe.imitate, time_budget=s),
        "physics + teacher": lambda s: distil(imitate=(), weights={"soft_target": 1.0}, time_budget=s),
        "teacher only": lambda s: teacher_only(teacher, key, s),
        "Sobolev, then physics": lambda s: distil(imitate=recipe.imitate, terms={"soft_target": slopes}, time_budget=s),
    }
    found = {name: timed(train, seconds) for name, train in students.items()}
    alone = timed(lambda s: distil(imitate=(), time_budget=s), of_teacher + seconds)
    return {
        "problem": problem.name,
        "seed": seed,
        "teacher_seconds": of_teacher,
        "seconds": seconds,
        "teacher": measured(teacher),
        "students": {name: measured(model) for name, model in found.items()} | {"no teacher": measured(alone)},
    }


def teacher_only(
    teacher: kd.Model, key: jax.Array, seconds: float, taught: kd.Term | None = None, steps: int = 10_000
) -> kd.Model:
    """A student fitted to the teacher's values, or to the targets ``taught``, and to nothing else: the imitation that
    ``distill`` begins with, for the whole time, at points drawn anew."""
    (stage,) = IMITATE
    stage = replace(stage, steps=steps, sampling=kd.Sampling(every=10, replace=0.2))
    target = kd.objective(teacher.problem, teacher.problem.student, coefficients=teacher.coefficients)
    target = replace(target, terms={"soft_target": taught or kd.soft_target(teacher)}, weights={"soft_target": 1.0})
    key_init, key_fit = jax.random.split(key)
    params = kd.init_params(teacher.problem, target.network, key_init)
    monitor = error_monitor(target)
    fitted = kd.fit(target, params, key_fit, (stage,), time_budget=seconds, progress=False, monitor=monitor)
    return kd.Model(teacher.problem, target.network, fitted.params, teacher.coefficients, fitted.stages)


def measured(model: kd.Model) -> dict[str, Any]:
    """Errors inside and beyond the domain, steps, and error against time."""
    metrics = kd.evaluate(model)
    return {
        "relative_l2": metrics.relative_l2,
        "rmse": metrics.rmse,
        "extrapolation": {name: errors[metrics.quantity].rmse for name, errors in metrics.extrapolation.items()},
        "steps": sum(int(report.steps) for report in model.training),
        "curve": curve(model, "relative_l2"),
    }


def at(record: Mapping[str, Any], column: str, limit: float) -> float:
    """The error last seen while the column had not passed the limit."""
    curve = record["curve"]
    seen = [e for x, e in zip(curve[column], curve["relative_l2"], strict=True) if x <= limit * (1 + 1e-9)]
    return seen[-1] if seen and seen[-1] is not None else np.inf


def seconds_to(record: Mapping[str, Any], error: float) -> float:
    """When the error was first below; infinite where it never was."""
    curve = record["curve"]
    pairs = zip(curve["seconds"], curve["relative_l2"], strict=True)
    return next((s for s, e in pairs if e is not None and e <= error), np.inf)


def tables(results: Results) -> dict[str, str]:
    errors, ratios, times = [], [], []
    for (name,), runs in by(results, "problem").items():
        of = lambda student, runs=runs: [run["students"][student] for run in runs]
        alone = [run["students"]["no teacher"] for run in runs]
        errors.append(
            [f"`{name}`", spread([run["teacher"]["relative_l2"] for run in runs])]
            + [spread([student["relative_l2"] for student in of(which)]) for which in STUDENTS[:-1]]
            + [
                spread([at(a, "seconds", run["seconds"]) for a, run in zip(alone, runs, strict=True)]),
                spread([at(a, "step", s["steps"]) for a, s in zip(alone, of(STUDENTS[0]), strict=True)]),
                spread([a["relative_l2"] for a in alone]),
            ]
        )
        ratios.append(
            [f"`{name}`"]
            + [
                spread([run["students"][which]["rmse"] / run["teacher"]["rmse"] for run in runs], ".2g")
                for which in STUDENTS
            ]
        )
        for level in LEVELS:
            row = [spread([seconds_to(student, level) for student in of(which)], ".1f") for which in STUDENTS]
            row.insert(0, spread([seconds_to(run["teacher"], level) for run in runs], ".1f"))
            if any(cell[0] != "–" for cell in row):
                times.append([f"`{name}`", f"{level:.0e}", *row])
    equal = ["no teacher, equal time", "no teacher, equal steps", "no teacher, teacher's time too"]
    return {
        "errors": markdown(["problem", "teacher", *STUDENTS[:-1], *equal], errors),
        "ratios": markdown(["problem", *STUDENTS], ratios),
        "times": markdown(["problem", "error", "teacher", *STUDENTS], times),
    }


def picture(results: Results) -> Figure:
    groups = by(results, "problem")
    columns = min(4, len(groups))
    rows = -(-len(groups) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.0 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in panels[len(groups) :]:
        spare.axis("off")
    panels = panels[: len(groups)]
    for panel, ((name,), runs) in zip(panels, groups.items(), strict=True):
        whole = runs[0]["teacher_seconds"] + runs[0]["seconds"]
        times = np.geomspace(0.3, whole, 120)
        lines = {which: [run["students"][which] for run in runs] for which in STUDENTS}
        lines["teacher"] = [run["teacher"] for run in runs]
        for number, (which, records) in enumerate(lines.items()):
            end = {"no teacher": whole, "teacher": runs[0]["teacher_seconds"]}.get(which, runs[0]["seconds"])
            shown = times[times <= end]
            errors = np.asarray([[at(record, "seconds", t) for t in shown] for record in records])
            known = np.isfinite(errors).all(axis=0)
            colour = "black" if which == "teacher" else f"C{number}"
            panel.plot(shown[known], np.median(errors, axis=0)[known], color=colour, label=which)
        panel.set(xscale="log", yscale="log", xlabel="wall seconds", title=name)
        panel.grid(which="major", linewidth=0.4)
    panels[0].set_ylabel("relative L2 error, median")
    panels[0].legend(fontsize=7)
    return figure


def cases(seeds: Sequence[int], quick: bool) -> dict[str, Callable[[], dict[str, Any]]]:
    problems = {"burgers": kd.problems.ALL["burgers"]} if quick else kd.problems.ALL
    return {
        f"{name}-{seed}": partial(one, problem, seed, *((2.0, 1.0) if quick else SECONDS[name]))
        for seed in seeds
        for name, problem in problems.items()
    }


STUDY = Study("distillation", cases, tables, picture)

if __name__ == "__main__":
    main(STUDY, __doc__)
