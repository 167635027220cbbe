"""The weight of the teacher, w_KD: 0, over several decades and annealed. Does it make the training oscillate less?

    taskset -c 0 python benchmarks/studies/kd_weight.py [--quick] [--only paper]

The student of Burgers is trained by two recipes: ``paper`` (soft conditions, Adam, then L-BFGS) and ``best`` (hard
conditions, Levenberg–Marquardt). The training has five segments with equal numbers of steps and one weight each: the
same weight in all five, or a weight that falls by a factor of ten per segment and is 0 in the last one. The teacher,
initial parameters, points and steps are the same for every weight.

Oscillation is the sum of all rises of log₁₀ of the physics loss (the weighted mean squares of the PDE and its
conditions, without the teacher's term) between records five steps apart, in decades per thousand steps.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import numpy as np
from _study import Cases, Result, Results, Study, by, curve, main, markdown, spread
from matplotlib.figure import Figure

import kdpinn_jax as kd
from kdpinn_jax.pde.problem import Conditions
from kdpinn_jax.training.monitor import error_monitor

SEGMENTS = 5
#: The weight of each segment: constant, or annealed.
WEIGHTS: dict[str, tuple[float, ...]] = {
    f"{weight:g}": (weight,) * SEGMENTS for weight in (0.0, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
} | {"annealed": (10.0, 1.0, 0.1, 0.01, 0.0)}
RECORD_EVERY = 5


@dataclass(frozen=True)
class Recipe:
    """How teacher and student are trained.

    Attributes:
        conditions: ``"soft"`` or ``"hard"``.
        teacher: the stages of the teacher.
        first: the stages of the student before the segments.
        segment: the stages of one segment, of which the student has SEGMENTS.
    """

    conditions: Conditions
    teacher: tuple[kd.Stage, ...]
    first: tuple[kd.Stage, ...]
    segment: tuple[kd.Stage, ...]


def recipe(name: str, quick: bool) -> Recipe:
    """The recipe of this name. L-BFGS redraws its points once per segment, Levenberg–Marquardt as usual."""
    burgers = kd.problems.ALL["burgers"]
    if name == "paper":
        teacher, first, segment = (20, 5, 5) if quick else (1500, 300, 200)
        stages = (kd.Adam(10 if quick else 300, 5e-3), kd.LBFGS(teacher, sampling=kd.Sampling(every=500)))
        return Recipe("soft", stages, (kd.Adam(first, 5e-3),), (kd.LBFGS(segment),))
    default, (steps, segment) = kd.recipe(burgers, "default", "quick"), (5, 2) if quick else (100, 20)
    shorten = lambda stages, steps: tuple(replace(stage, steps=steps) for stage in stages)
    return Recipe("hard", shorten(default.teacher, steps), (), shorten(default.student, segment))


@functools.lru_cache(maxsize=2)
def teacher_of(name: str, seed: int, quick: bool) -> kd.Model:
    """The teacher of a recipe and seed, which is the same for every weight."""
    chosen = recipe(name, quick)
    problem = kd.with_conditions(kd.problems.ALL["burgers"], chosen.conditions)
    key = jax.random.split(jax.random.key(seed))[0]
    return kd.train_teacher(problem, key, stages=chosen.teacher, progress=False)


def student_of(teacher: kd.Model, chosen: Recipe, weights: Sequence[float], key: jax.Array) -> kd.Model:
    """The student after all segments, each with its weight of the soft targets; a weight of 0 switches the term off."""
    target = kd.objective(
        teacher.problem,
        teacher.problem.student,
        terms={"soft_target": kd.soft_target(teacher)},
        weights={"soft_target": weights[0]},
        coefficients=teacher.coefficients,
    )
    key, key_init = jax.random.split(key)
    params = kd.init_params(teacher.problem, target.network, key_init)
    monitor, reports = error_monitor(target), ()
    phases = [(chosen.first, weights[0])] if chosen.first else []
    for i, (stages, weight) in enumerate([*phases, *((chosen.segment, weight) for weight in weights)]):
        fitted = kd.fit(
            replace(target, weights=target.weights | {"soft_target": weight}),
            params,
            jax.random.fold_in(key, i),
            stages,
            progress=False,
            monitor=monitor,
            record_every=RECORD_EVERY,
        )
        params, reports = fitted.params, reports + fitted.stages
    return kd.Model(teacher.problem, target.network, params, target.coefficients, reports)


def run_case(name: str, weight: str, seed: int, quick: bool) -> Result:
    """A student of one recipe, weight and seed."""
    teacher, chosen = teacher_of(name, seed, quick), recipe(name, quick)
    student = student_of(teacher, chosen, WEIGHTS[weight], jax.random.split(jax.random.key(seed))[1])
    physics = physics_loss(student)
    split = int(sum(len(report.record_steps) for report in student.training[: len(chosen.first)]))
    metrics = kd.evaluate(student)
    return {
        "recipe": name,
        "weight": weight,
        "seed": seed,
        "teacher": kd.evaluate(teacher).relative_l2,
        "relative_l2": metrics.relative_l2,
        "rmse": metrics.rmse,
        "physics_loss": float(physics[-1]),
        "oscillation": {
            "Adam": oscillation(physics[:split]) if split else None,
            "then": oscillation(physics[split:]),
        },
        "curve": curve(with_physics(student, physics), "physics", "relative_l2"),
    }


def physics_loss(student: kd.Model) -> np.ndarray:
    """The weighted sum of the mean squares of all terms except the soft targets, at every record."""
    weights = kd.objective(student.problem, student.network).weights
    by_stage = [
        sum(float(weight) * np.asarray(report.history[name]) for name, weight in weights.items())
        for report in student.training
    ]
    return np.concatenate(by_stage)


def with_physics(student: kd.Model, physics: np.ndarray) -> kd.Model:
    """The student with the physics loss added to its history."""
    reports, start = [], 0
    for report in student.training:
        end = start + len(report.record_steps)
        reports.append(replace(report, history=report.history | {"physics": physics[start:end]}))
        start = end
    return replace(student, training=tuple(reports))


def oscillation(losses: np.ndarray, every: int = RECORD_EVERY) -> float:
    """Σ max(0, Δ log₁₀ loss) between records, in decades per thousand steps; 0 for a loss that only falls."""
    if len(losses) < 2:
        return 0.0
    return float(np.maximum(np.diff(np.log10(losses)), 0).sum() / ((len(losses) - 1) * every) * 1000)


def tables(results: Results) -> dict[str, str]:
    by_recipe = {}
    for (name,), recipe_runs in by(results, "recipe").items():
        rows = []
        for (weight,), runs in by(dict(enumerate(recipe_runs)), "weight").items():
            row = [weight, spread([run["relative_l2"] for run in runs]), spread([run["physics_loss"] for run in runs])]
            if name == "paper":
                row.append(spread([run["oscillation"]["Adam"] for run in runs], ".1f"))
            rows.append([*row, spread([run["oscillation"]["then"] for run in runs], ".1f")])
        stages = ["oscillation, Adam", "oscillation, L-BFGS"] if name == "paper" else ["oscillation"]
        by_recipe[name] = markdown(["w_KD", "relative L2", "physics loss", *stages], rows)
    return by_recipe


def picture(results: Results) -> Figure:
    groups = by(results, "recipe")
    figure = Figure(figsize=(5.2 * len(groups), 6.4), layout="constrained")
    panels = figure.subplots(2, len(groups), squeeze=False)
    for column, ((name,), recipe_runs) in enumerate(groups.items()):
        for i, ((weight,), runs) in enumerate(by(dict(enumerate(recipe_runs)), "weight").items()):
            # The seed with the median error: a median of curves would hide the oscillation.
            run = sorted(runs, key=lambda run: run["relative_l2"])[len(runs) // 2]
            for panel, quantity in zip(panels[:, column], ("physics", "relative_l2"), strict=True):
                style = {"color": "black", "linestyle": "--"} if weight == "annealed" else {"color": f"C{i}"}
                panel.plot(run["curve"]["step"], run["curve"][quantity], label=weight, linewidth=1, **style)
                panel.set(xscale="log", yscale="log", xlabel="step")
        panels[0, column].set(title=name, ylabel="physics loss")
        panels[1, column].set(ylabel="relative L2 error")
    panels[0, 0].legend(title="w_KD", fontsize=7)
    return figure


def cases(seeds: Sequence[int], quick: bool) -> Cases:
    return {
        f"{name}-{seed}-{weight}": functools.partial(run_case, name, weight, seed, quick)
        for seed in seeds
        for name in ("paper", "best")
        for weight in (("0", "1", "annealed") if quick else WEIGHTS)
    }


STUDY = Study("kd_weight", cases, tables, picture)

if __name__ == "__main__":
    main(STUDY, __doc__)
