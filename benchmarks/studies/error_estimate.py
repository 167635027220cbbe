"""How close bounds and estimates of the error, computed without a reference, are to the true error.

    taskset -c 0 python benchmarks/studies/error_estimate.py [--quick] [--only burgers]

The students of each problem are trained with hard conditions by Levenberg–Marquardt. There are three kinds of model:
``good`` after GOOD steps, ``early`` after EARLY steps, and ``spoilt``, the good model with one per cent of noise on
every parameter. ``error_estimate`` is applied to each by the problem's bound, to the early one also with the good one
as its teacher, and to the good one also by a trained correction. The correction is left out for Taylor–Green, where it
takes minutes, as it would for the cavity, which is left out altogether. Each value is divided by the true error in the
same norm.
"""

import functools
from collections.abc import Sequence
from dataclasses import replace

import jax
import numpy as np
from _study import Cases, Result, Results, Study, by, main, markdown, spread
from matplotlib.figure import Figure

import kdpinn_jax as kd

#: Steps of the good and of the early models, and the relative noise of the spoilt ones.
GOOD, EARLY, SPOILT = 40, 10, 0.01
#: Steps for Taylor–Green, whose steps are ten times as expensive and which converges in fewer.
GOOD_VORTEX, EARLY_VORTEX = 15, 5
PROBLEMS = tuple(name for name in kd.problems.ALL if name != "lid_driven_cavity")


def train_models(problem: kd.Problem, seed: int, good: int, early: int) -> dict[str, kd.Model]:
    """One model of each kind; ``good`` and ``early`` are numbers of steps."""
    key, key_noise = jax.random.split(jax.random.key(seed))
    (stage,) = kd.recipe(problem, "default", "quick").student

    def train(steps: int) -> kd.Model:
        stages = (replace(stage, steps=steps),)
        return kd.train_teacher(problem, key, network=problem.student, stages=stages, progress=False)

    models = {"good": train(good), "early": train(early)}
    leaves, tree = jax.tree.flatten(models["good"].params)
    keys = jax.random.split(key_noise, len(leaves))
    noisy = [x * (1 + SPOILT * jax.random.normal(k, x.shape, x.dtype)) for k, x in zip(keys, leaves, strict=True)]
    return models | {"spoilt": replace(models["good"], params=jax.tree.unflatten(tree, noisy))}


def run_case(name: str, seed: int, quick: bool) -> Result:
    problem = kd.problems.ALL[name]
    steps = (GOOD_VORTEX, EARLY_VORTEX) if name == "taylor_green" else (GOOD, EARLY)
    models = train_models(problem, seed, *((4, 2) if quick else steps))
    estimates: dict[str, Result] = {}
    for kind, model in models.items():
        if problem.bound:
            estimates[f"{kind}, bound"] = compare(model, kd.error_estimate(model))
        if kind == "good" and name != "taylor_green" and not quick:
            estimate = kd.error_estimate(model, method="estimate")
            if estimate.kind != "unknown":
                estimates[f"{kind}, estimate"] = compare(model, estimate)
    if problem.bound:
        with_teacher = kd.error_estimate(models["early"], teacher=models["good"])
        estimates["early, bound with teacher"] = compare(models["early"], with_teacher)
    return {"problem": name, "seed": seed, "told": estimates}


def compare(model: kd.Model, estimate: kd.ErrorEstimate) -> Result:
    """The bound or estimate, and the true error in the same norm."""
    true_error = kd.true_error(model, estimate.norm)
    return {"value": estimate.value, "kind": estimate.kind, "norm": estimate.norm.name, "true": true_error}


def tables(results: Results) -> dict[str, str]:
    rows = []
    for (name,), runs in by(results, "problem").items():
        for label in dict.fromkeys(label for run in runs for label in run["told"]):
            estimates = [run["told"][label] for run in runs if label in run["told"]]
            ratios = [estimate["value"] / estimate["true"] for estimate in estimates]
            below = sum(ratio < 1 for ratio in ratios)
            rows.append(
                [
                    f"`{name}`",
                    label,
                    estimates[0]["norm"].replace("|", r"\|"),
                    spread([estimate["value"] for estimate in estimates]),
                    spread([estimate["true"] for estimate in estimates]),
                    spread(ratios, ".2g"),
                    f"{below} of {len(ratios)}",
                ]
            )
    head = ["problem", "model, method", "norm", "bound or estimate", "true error", "ratio", "below the true error"]
    return {"estimates": markdown(head, rows)}


def picture(results: Results) -> Figure:
    groups = by(results, "problem")
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    panel = figure.subplots()
    estimates = [estimate for run in results.values() for estimate in run["told"].values()]
    values = [estimate[key] for estimate in estimates for key in ("true", "value")]
    ends = np.asarray([min(values), max(values)])
    panel.plot(ends, ends, color="grey", linewidth=0.8)
    for i, ((name,), runs) in enumerate(groups.items()):
        for kind, marker in (("bound", "o"), ("estimate", "x")):
            pairs = [(e["true"], e["value"]) for run in runs for e in run["told"].values() if e["kind"] == kind]
            if pairs:
                panel.scatter(*zip(*pairs, strict=True), marker=marker, s=16, color=f"C{i}", label=f"{name}, {kind}")
    panel.set(xscale="log", yscale="log", xlabel="true error", ylabel="bound or estimate, without a reference")
    panel.legend(fontsize=7)
    return figure


def cases(seeds: Sequence[int], quick: bool) -> Cases:
    return {
        f"{name}-{seed}": functools.partial(run_case, name, seed, quick)
        for seed in seeds
        for name in (("burgers",) if quick else PROBLEMS)
    }


STUDY = Study("error_estimate", cases, tables, picture)

if __name__ == "__main__":
    main(STUDY, __doc__)
