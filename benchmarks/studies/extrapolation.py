"""Beyond the domain: whether a student extrapolates better than its teacher, as the paper says.

    taskset -c 0 python benchmarks/studies/extrapolation.py [--quick] [--only burgers]

The last space axis is extended to the right by 10 % ("mild right") and by 50 % ("hard right") of its width. Errors are
measured on the extension alone, for problems whose reference extends there. The networks are those of distillation.py
(hard conditions, Levenberg–Marquardt) and of gradients.py (the paper's recipe, soft conditions); cases that have no
result yet are run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import distillation
import gradients
import numpy as np
from _study import Cases, Result, Results, Study, by, main, markdown, spread
from matplotlib.figure import Figure

#: ``{network: its name in the results of the other study}``, for distillation.py and gradients.py.
HARD = {"student": "imitate, then physics", "student alone": "no teacher"}
SOFT = {"teacher": "teacher", "student": "student with teacher", "student alone": "student without teacher"}
REGIONS = ("mild right", "hard right")


def networks(result: Mapping[str, Any]) -> dict[str, Any]:
    """``{network: {"rmse", "extrapolation"}}`` from a result of either study."""
    if "ends" in result:
        return {network: result["ends"][name] for network, name in SOFT.items()}
    return {"teacher": result["teacher"]} | {network: result["students"][name] for network, name in HARD.items()}


def ratios(runs: Sequence[Mapping[str, Any]], network: str, region: str) -> list[float]:
    """The network's RMSE on the extension divided by its teacher's, for every seed."""
    pairs = [(networks(run)[network], networks(run)["teacher"]) for run in runs]
    return [student["extrapolation"][region] / teacher["extrapolation"][region] for student, teacher in pairs]


def tables(results: Results) -> dict[str, str]:
    rows = []
    for (recipe, name), runs in grouped(results).items():
        if not networks(runs[0])["teacher"]["extrapolation"]:
            continue  # the reference does not extend beyond the domain
        for region in REGIONS:
            row = [f"`{name}`", recipe, region]
            for network in SOFT:
                row.append(spread([networks(run)[network]["extrapolation"][region] for run in runs]))
            for network in ("student", "student alone"):
                values = ratios(runs, network, region)
                row.append(f"{spread(values, '.2g')}; better in {sum(r < 1 for r in values)} of {len(values)}")
            rows.append(row)
    errors = ("teacher's RMSE", "student's RMSE", "RMSE of student alone")
    head = ["problem", "recipe", "region", *errors, "student / teacher", "student alone / teacher"]
    return {"extrapolation": markdown(head, rows)}


def grouped(results: Results) -> dict[tuple[str, str], list[Result]]:
    """The runs by recipe and problem."""
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
            for i, network in enumerate(("student", "student alone")):
                values = ratios(runs, network, region)
                x = [len(labels) + 0.2 * i - 0.1] * len(values)
                panel.scatter(x, values, s=14, color=f"C{i}", label=None if labels else network)
            labels.append(f"{name}\n{recipe}\n{region}")
    panel.axhline(1, color="grey", linewidth=0.8)
    panel.set(yscale="log", ylabel="RMSE beyond the domain, network / teacher")
    panel.set_xticks(np.arange(len(labels)), labels, fontsize=6, rotation=90)
    panel.legend(fontsize=8)
    return figure


def cases(seeds: Sequence[int], quick: bool) -> Cases:
    # The trainings of gradients.py take too long to compile for a quick run.
    studies = {"distillation": distillation} | ({} if quick else {"gradients": gradients})
    return {f"{name}/{case}": run for name, study in studies.items() for case, run in study.cases(seeds, quick).items()}


STUDY = Study("extrapolation", cases, tables, picture, folder=".")

if __name__ == "__main__":
    main(STUDY, __doc__)
