"""How far from the error is what is said of it without a reference: bounds and estimates of good and of spoilt models.

    taskset -c 0 python benchmarks/studies/error_estimate.py [--quick] [--only burgers]

Of every problem's student, hard conditions, Levenberg–Marquardt: the ``good`` one after GOOD steps, the ``early`` one
after EARLY, and a ``spoilt`` one, the good one with a hundredth of noise on each parameter. ``error_estimate`` of each
by the problem's bound, and of the early one with the good one as its teacher; of the good one also by a trained
correction, but for Taylor–Green, where that takes minutes, as it would for the cavity; over the true error in the same
norm.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from _study import Results, Study, by, main, markdown, spread
from matplotlib.figure import Figure

import kdpinn_jax as kd

GOOD, EARLY, SPOILT = 40, 10, 0.01
#: Of Taylor–Green, whose steps are ten times as dear and which converges in a few.
GOOD_VORTEX, EARLY_VORTEX = 15, 5
PROBLEMS = tuple(name for name in kd.problems.ALL if name != "lid_driven_cavity")
KINDS = ("good", "early", "spoilt")


def models(problem: kd.Problem, seed: int, good: int, early: int) -> dict[str, kd.Model]:
    key, key_noise = jax.random.split(jax.random.key(seed))
    (stage,) = kd.recipe(problem, "default", "quick").student
    train = lambda steps: kd.train_teacher(
        problem, key, network=problem.student, stages=(replace(stage, steps=steps),), progress=False
    )
    found = {"good": train(good), "early": train(early)}
    leaves, tree = jax.tree.flatten(found["good"].params)
    keys = jax.random.split(key_noise, len(leaves))
    noisy = [x * (1 + SPOILT * jax.random.normal(k, x.shape, x.dtype)) for k, x in zip(keys, leaves, strict=True)]
    return found | {"spoilt": replace(found["good"], params=jax.tree.unflatten(tree, noisy))}


def one(name: str, seed: int, quick: bool) -> dict[str, Any]:
    problem = kd.problems.ALL[name]
    steps = (GOOD_VORTEX, EARLY_VORTEX) if name == "taylor_green" else (GOOD, EARLY)
    made = models(problem, seed, *((4, 2) if quick else steps))
    told: dict[str, Any] = {}
    for kind, model in made.items():
        if problem.bound:
            told[f"{kind}, bound"] = compared(model, kd.error_estimate(model))
        if kind == "good" and name != "taylor_green" and not quick:
            told[f"{kind}, estimate"] = compared(model, kd.error_estimate(model, method="estimate"))
    if problem.bound:
        taught = kd.error_estimate(made["early"], teacher=made["good"])
        told["early, bound with teacher"] = compared(made["early"], taught)
    return {"problem": name, "seed": seed, "told": told}


def compared(model: kd.Model, said: kd.ErrorEstimate) -> dict[str, Any]:
    """What was said, and what is true."""
    return {"value": said.value, "kind": said.kind, "norm": said.norm.name, "true": kd.true_error(model, said.norm)}


def tables(results: Results) -> dict[str, str]:
    rows = []
    for (name,), runs in by(results, "problem").items():
        for what in runs[0]["told"]:
            said = [run["told"][what] for run in runs]
            ratio = [s["value"] / s["true"] for s in said]
            below = sum(r < 1 for r in ratio)
            rows.append(
                [
                    f"`{name}`",
                    what,
                    said[0]["norm"].replace("|", r"\|"),
                    spread([s["value"] for s in said]),
                    spread([s["true"] for s in said]),
                    spread(ratio, ".2g"),
                    f"{below} of {len(ratio)}",
                ]
            )
    return {"told": markdown(["problem", "model, method", "norm", "told", "true", "told / true", "below it"], rows)}


def picture(results: Results) -> Figure:
    groups = by(results, "problem")
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    panel = figure.subplots()
    every = [said[key] for run in results.values() for said in run["told"].values() for key in ("true", "value")]
    ends = np.asarray([min(every), max(every)])
    panel.plot(ends, ends, color="grey", linewidth=0.8)
    for number, ((name,), runs) in enumerate(groups.items()):
        for kind, marker in (("bound", "o"), ("estimate", "x")):
            said = [s for run in runs for s in run["told"].values() if s["kind"] == kind]
            if said:
                x, y = [s["true"] for s in said], [s["value"] for s in said]
                panel.scatter(x, y, marker=marker, s=16, color=f"C{number}", label=f"{name}, {kind}")
    panel.set(xscale="log", yscale="log", xlabel="true error", ylabel="told without a reference")
    panel.legend(fontsize=7)
    return figure


def cases(seeds: Sequence[int], quick: bool) -> dict[str, Callable[[], dict[str, Any]]]:
    return {
        f"{name}-{seed}": functools.partial(one, name, seed, quick)
        for seed in seeds
        for name in (("burgers",) if quick else PROBLEMS)
    }


STUDY = Study("error_estimate", cases, tables, picture)

if __name__ == "__main__":
    main(STUDY, __doc__)
