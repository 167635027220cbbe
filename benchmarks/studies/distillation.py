"""What distillation buys, and when: students with and without a teacher, at equal time and at equal steps.

    taskset -c 0 python benchmarks/studies/distillation.py [--quick] [--only burgers]

For every problem and seed a teacher is trained, and then four students from the same initial parameters: by imitation
and then physics (the library's default), on physics and teacher together (the paper's loss), on the teacher alone, and
with Sobolev terms. A fifth student has no teacher and the seconds of teacher and student together. Its errors after the
student's seconds, and after as many steps as the default student took, are read from its history. All trainings use
Levenberg–Marquardt.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
from _study import Cases, Result, Results, Study, by, curve, main, markdown, spread, train_compiled
from matplotlib.figure import Figure

import kdpinn_jax as kd
from kdpinn_jax.training.monitor import error_monitor
from kdpinn_jax.training.plan import IMITATE

#: Wall seconds of the teacher and of each student; the steps of the flow problems are more expensive.
SHORT, LONG = (20.0, 6.0), (30.0, 12.0)
SECONDS = {name: LONG if name in ("taylor_green", "lid_driven_cavity") else SHORT for name in kd.problems.ALL}
#: Weight of the teacher's slopes relative to its values, and the number of points where slopes are compared.
SOBOLEV, SOBOLEV_POINTS = 0.1, 1024
#: The errors in the table of times.
LEVELS = (1e-1, 1e-2, 1e-3, 1e-4)
STUDENTS = ("imitate, then physics", "physics + teacher", "teacher only", "Sobolev, then physics", "no teacher")


def run_case(problem: kd.Problem, seed: int, teacher_seconds: float, seconds: float) -> Result:
    """The teacher and every student of one seed."""
    key_teacher, key = jax.random.split(jax.random.key(seed))
    recipe = kd.recipe(problem, "default", "quick")
    teacher = train_compiled(
        lambda s: kd.train_teacher(
            problem, key_teacher, stages=recipe.teacher, time_budget=s, progress=False, track_error=True
        ),
        teacher_seconds,
    )
    distil = partial(kd.distill, teacher, key, stages=recipe.student, progress=False, track_error=True)
    slopes = kd.soft_target(teacher, sobolev=SOBOLEV, count=SOBOLEV_POINTS)
    students: dict[str, Callable[[float], kd.Model]] = {
        "imitate, then physics": lambda s: distil(imitate=recipe.imitate, time_budget=s),
        "physics + teacher": lambda s: distil(imitate=(), weights={"soft_target": 1.0}, time_budget=s),
        "teacher only": lambda s: teacher_only(teacher, key, s),
        "Sobolev, then physics": lambda s: distil(imitate=recipe.imitate, terms={"soft_target": slopes}, time_budget=s),
    }
    measurements = {name: measure(train_compiled(train, seconds)) for name, train in students.items()}
    alone = train_compiled(lambda s: distil(imitate=(), time_budget=s), teacher_seconds + seconds)
    return {
        "problem": problem.name,
        "seed": seed,
        "teacher_seconds": teacher_seconds,
        "seconds": seconds,
        "teacher": measure(teacher),
        "students": measurements | {"no teacher": measure(alone)},
    }


def teacher_only(
    teacher: kd.Model, key: jax.Array, seconds: float, soft_targets: kd.Term | None = None, steps: int = 10_000
) -> kd.Model:
    """A student fitted only to the teacher's values, or to ``soft_targets``.

    It is trained for the whole time by the imitation with which ``distill`` begins, at points that are redrawn.
    """
    (stage,) = IMITATE
    stage = replace(stage, steps=steps, sampling=kd.Sampling(every=10, replace=0.2))
    target = kd.objective(teacher.problem, teacher.problem.student, coefficients=teacher.coefficients)
    terms = {"soft_target": soft_targets or kd.soft_target(teacher)}
    target = replace(target, terms=terms, weights={"soft_target": 1.0})
    key_init, key_fit = jax.random.split(key)
    params = kd.init_params(teacher.problem, target.network, key_init)
    monitor = error_monitor(target)
    fitted = kd.fit(target, params, key_fit, (stage,), time_budget=seconds, progress=False, monitor=monitor)
    return kd.Model(teacher.problem, target.network, fitted.params, teacher.coefficients, fitted.stages)


def measure(model: kd.Model) -> dict[str, Any]:
    """Errors inside and beyond the domain, the number of steps, and the error against time."""
    metrics = kd.evaluate(model)
    return {
        "relative_l2": metrics.relative_l2,
        "rmse": metrics.rmse,
        "extrapolation": {name: errors[metrics.quantity].rmse for name, errors in metrics.extrapolation.items()},
        "steps": sum(int(report.steps) for report in model.training),
        "curve": curve(model, "relative_l2"),
    }


def at(record: Mapping[str, Any], column: str, limit: float) -> float:
    """The error at the last record whose column is within the limit; infinite if there is none."""
    columns = record["curve"]
    errors = [e for x, e in zip(columns[column], columns["relative_l2"], strict=True) if x <= limit * (1 + 1e-9)]
    return errors[-1] if errors and errors[-1] is not None else np.inf


def seconds_to(record: Mapping[str, Any], error: float) -> float:
    """The seconds until the error was first reached; infinite if it was not."""
    columns = record["curve"]
    pairs = zip(columns["seconds"], columns["relative_l2"], strict=True)
    return next((s for s, e in pairs if e is not None and e <= error), np.inf)


def tables(results: Results) -> dict[str, str]:
    errors, ratios, times = [], [], []
    for (name,), runs in by(results, "problem").items():
        students = {which: [run["students"][which] for run in runs] for which in STUDENTS}
        default, alone = students["imitate, then physics"], students["no teacher"]
        errors.append(
            [f"`{name}`", spread([run["teacher"]["relative_l2"] for run in runs])]
            + [spread([student["relative_l2"] for student in students[which]]) for which in STUDENTS[:-1]]
            + [
                spread([at(a, "seconds", run["seconds"]) for a, run in zip(alone, runs, strict=True)]),
                spread([at(a, "step", s["steps"]) for a, s in zip(alone, default, strict=True)]),
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
            row = [spread([seconds_to(student, level) for student in students[which]], ".1f") for which in STUDENTS]
            row.insert(0, spread([seconds_to(run["teacher"], level) for run in runs], ".1f"))
            if any(cell[0] != "–" for cell in row):
                times.append([f"`{name}`", f"{level:.0e}", *row])
    comparisons = ["no teacher, equal time", "no teacher, equal steps", "no teacher, teacher's time too"]
    return {
        "errors": markdown(["problem", "teacher", *STUDENTS[:-1], *comparisons], errors),
        "ratios": markdown(["problem", *STUDENTS], ratios),
        "times": markdown(["problem", "error", "teacher", *STUDENTS], times),
    }


def picture(results: Results) -> Figure:
    groups = by(results, "problem")
    columns = min(4, len(groups))
    rows = -(-len(groups) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.0 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in panels[len(groups) :]:
        unused.axis("off")
    panels = panels[: len(groups)]
    for panel, ((name,), runs) in zip(panels, groups.items(), strict=True):
        total_seconds = runs[0]["teacher_seconds"] + runs[0]["seconds"]
        times = np.geomspace(0.3, total_seconds, 120)
        lines = {which: [run["students"][which] for run in runs] for which in STUDENTS}
        lines["teacher"] = [run["teacher"] for run in runs]
        for i, (which, records) in enumerate(lines.items()):
            end = {"no teacher": total_seconds, "teacher": runs[0]["teacher_seconds"]}.get(which, runs[0]["seconds"])
            shown = times[times <= end]
            errors = np.asarray([[at(record, "seconds", t) for t in shown] for record in records])
            known = np.isfinite(errors).all(axis=0)
            colour = "black" if which == "teacher" else f"C{i}"
            panel.plot(shown[known], np.median(errors, axis=0)[known], color=colour, label=which)
        panel.set(xscale="log", yscale="log", xlabel="wall seconds", title=name)
        panel.grid(which="major", linewidth=0.4)
    panels[0].set_ylabel("relative L2 error, median")
    panels[0].legend(fontsize=7)
    return figure


def cases(seeds: Sequence[int], quick: bool) -> Cases:
    problems = {"burgers": kd.problems.ALL["burgers"]} if quick else kd.problems.ALL
    return {
        f"{name}-{seed}": partial(run_case, problem, seed, *((2.0, 1.0) if quick else SECONDS[name]))
        for seed in seeds
        for name, problem in problems.items()
    }


STUDY = Study("distillation", cases, tables, picture)

if __name__ == "__main__":
    main(STUDY, __doc__)
