"""Beyond the domain: does a student extrapolate better than its teacher, as the paper says?

    taskset -c 0 python benchmarks/studies/extrapolation.py [--quick] [--only burgers]

The last space axis goes on to its right by 10 % ("mild right") and by 50 % ("hard right") of its width; errors are
taken on the extension alone, where the reference goes on. The networks are those of distillation.py (hard conditions,
Levenberg–Marquardt) and of gradients.py (the paper's recipe, soft conditions); what is missing of either is run.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import distillation
import gradients
import numpy as np
from _study import Results, Study, by, main, markdown, spread
from matplotlib.figure import Figure

#: What the networks are called in the results of either study, under one name.
HARD = {"student": "imitate, then physics", "student alone": "no teacher"}
SOFT = {"teacher": "teacher", "student": "student with teacher", "student alone": "student without teacher"}
REGIONS = ("mild right", "hard right")


def networks(result: Mapping[str, Any]) -> dict[str, Any]:
    """``{network: {"rmse", "extrapolation"}}`` of a result of either study."""
    if "ends" in result:
        return {name: result["ends"][theirs] for name, theirs in SOFT.items()}
    return {"teacher": result["teacher"]} | {name: result["students"][theirs] for name, theirs in HARD.items()}


def ratios(runs: Sequence[Mapping[str, Any]], network: str, region: str) -> list[float]:
    """The network's RMSE on the extension over its teacher's, of every seed."""
    pairs = [(networks(run)[network], networks(run)["teacher"]) for run in runs]
    return [ours["extrapolation"][region] / its["extrapolation"][region] for ours, its in pairs]


def tables(results: Results) -> dict[str, str]:
    rows = []
    for (recipe, name), runs in grouped(results).items():
        if not networks(runs[0])["teacher"]["extrapolation"]:
            continue  # the reference ends at the domain's edge
        for region in REGIONS:
            row = [f"`{name}`", recipe, region]
            for network in SOFT:
                row.append(spread([networks(run)[network]["extrapolation"][region] for run in runs]))
            for network in ("student", "student alone"):
                found = ratios(runs, network, region)
                row.append(f"{spread(found, '.2g')}; better in {sum(r < 1 for r in found)} of {len(found)}")
            rows.append(row)
    head = ["problem", "recipe", "region", *(f"{name}'s RMSE" for name in SOFT), "student / teacher", "alone / teacher"]
    return {"extrapolation": markdown(head, rows)}


def grouped(results: Results) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Runs by recipe and problem."""
    recipe = lambda result: "paper's, soft" if "ends" in result else "default, hard"
    named = {case: result | {"recipe": recipe(result)} for case, result in results.items()}
    return {(key[0], key[1]): runs for key, runs in by(named, "recipe", "problem").items()}


def picture(results: Results) -> Figure:
    figure = Figure(figsize=(8, 4), layout="constrained")
    panel = figure.subplots()
    labels = []
    for (recipe, name), runs in grouped(results).items():
        if not networks(runs[0])["teacher"]["extrapolation"]:
            continue
        for region in REGIONS:
            for number, network in enumerate(("student", "student alone")):
                found = ratios(runs, network, region)
                x = [len(labels) + 0.2 * number - 0.1] * len(found)
                panel.scatter(x, found, s=14, color=f"C{number}", label=None if labels else network)
            labels.append(f"{name}\n{recipe}\n{region}")
    panel.axhline(1, color="grey", linewidth=0.8)
    panel.set(yscale="log", ylabel="RMSE beyond the domain / the teacher's")
    panel.set_xticks(np.arange(len(labels)), labels, fontsize=6, rotation=90)
    panel.legend(fontsize=8)
    return figure


def cases(seeds: Sequence[int], quick: bool) -> dict[str, Callable[[], dict[str, Any]]]:
    shared = {} if quick else {"gradients": gradients}  # whose trainings take as long to compile as is quick
    return {
        f"{name}/{case}": run
        for name, study in ({"distillation": distillation} | shared).items()
        for case, run in study.cases(seeds, quick).items()
    }


STUDY = Study("extrapolation", cases, tables, picture, folder=".")

if __name__ == "__main__":
    main(STUDY, __doc__)
