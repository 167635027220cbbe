"""What benchmarks/training.py and benchmarks/deepxde_baseline.py share: one JSON a run, their table, their pictures.

NumPy and Matplotlib are all it needs, so that DeepXDE's environment can import it too.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results" / "training"
SIZES = ("student", "teacher")
#: Of every optimiser its colour. DeepXDE solves the problem with soft conditions, and stands beside hard ones as well.
COLOURS = {"Adam": "C7", "LBFGS": "C0", "SSBroyden": "C2", "LevenbergMarquardt": "C3", "DeepXDE": "C1"}
#: Records kept of a curve: as many as a picture can show, and a file stays small.
RECORDS = 100
#: Seconds of the table's columns before the end.
AT = (10.0, 30.0)
TICKS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800)


def file_of(variant: str, size: str, optimiser: str, seed: int, seconds: float) -> Path:
    return RESULTS / f"{variant}-{size}-{optimiser}-{seed}-{seconds:g}s.json"


def thinned(curve: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """At most RECORDS of its records, evenly spaced in the logarithm of ``curve["seconds"]``; four digits."""
    seconds = np.asarray(curve["seconds"], float)
    if len(seconds) > RECORDS:
        times = np.geomspace(max(seconds[0], 1e-3), seconds[-1], RECORDS)
        chosen = np.unique(np.searchsorted(seconds, times * (1 - 1e-12)).clip(0, len(seconds) - 1))
    else:
        chosen = np.arange(len(seconds))
    return {name: [float(f"{values[i]:.4g}") for i in chosen] for name, values in curve.items()}


def read(variants: Iterable[str], sizes: Iterable[str], optimisers: Iterable[str], seconds: float) -> list[dict]:
    """Every result there is, as ``{"variant", "size", "optimiser", …}``, in the order of the arguments."""
    found = []
    for variant in variants:
        for size in sizes:
            for optimiser in (*optimisers, "DeepXDE"):
                stem = variant.removesuffix("-soft") if optimiser == "DeepXDE" else variant
                for path in sorted(RESULTS.glob(file_of(stem, size, optimiser, 0, seconds).name.replace("-0-", "-*-"))):
                    found.append(json.loads(path.read_text()) | {"variant": variant})
    return found


def error_at(result: Mapping[str, Any], seconds: float) -> float:
    """The relative L2 error of the last record by then; infinite before the first one."""
    records = zip(result["curve"]["seconds"], result["curve"]["relative_l2"], strict=True)
    past = [error for second, error in records if second <= seconds and error is not None]
    return past[-1] if past else math.inf


def grouped(results: Iterable[dict], *names: str) -> dict[tuple, list[dict]]:
    groups: dict[tuple, list[dict]] = {}
    for result in results:
        groups.setdefault(tuple(result[name] for name in names), []).append(result)
    return groups


def _title(run: Mapping[str, Any]) -> str:
    differs = run["conditions"] == "soft" and run["variant"] == run["problem"] and run["optimiser"] == "DeepXDE"
    return run["optimiser"] + (", soft conditions" if differs else "")


def _median_and_worst(errors: Sequence[float]) -> str:
    """Infinite where the error is not known: not yet a record."""
    if not np.isfinite(np.median(errors)):
        return "–"
    worst = max(errors)
    return f"{np.median(errors):.1e} ({f'{worst:.1e}' if np.isfinite(worst) else '–'})"


def table(results: list[dict], seconds: float) -> str:
    """Markdown, a row a problem, size and optimiser: median and worst of the seeds."""
    at = [t for t in AT if t < seconds]
    head = ["problem", "network", "optimiser", *(f"{t:g} s" for t in at), f"{seconds:g} s", "predicted in float32"]
    head += ["steps", "compiling, s", "seeds"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for (variant, size, _), runs in grouped(results, "variant", "size", "optimiser").items():
        errors = [[error_at(run, t) for run in runs] for t in at]
        errors += [[run[name]["relative_l2"] for run in runs] for name in ("final", "float32")]
        errors = [[math.inf if e is None else e for e in of_seeds] for of_seeds in errors]
        steps = np.median([sum(stage["steps"] for stage in run["stages"]) for run in runs])
        compiling = np.median([sum(stage["seconds_compiling"] for stage in run["stages"]) for run in runs])
        cells = [f"`{variant}`", f"{size}, {runs[0]['parameters']}", _title(runs[0]), *map(_median_and_worst, errors)]
        lines.append(f"| {' | '.join([*cells, f'{steps:.0f}', f'{compiling:.0f}', str(len(runs))])} |")
    return "\n".join(lines)


def picture(results: list[dict], seconds: float, path: Path) -> None:
    """Error against wall time of one problem, a panel a size: the median of the seeds, and their spread shaded."""
    sizes = [size for size in SIZES if any(result["size"] == size for result in results)]
    figure = Figure(figsize=(5.2 * len(sizes), 4.2), layout="constrained")
    panels = figure.subplots(1, len(sizes), squeeze=False, sharey=True)[0]
    for size, panel in zip(sizes, panels, strict=True):
        runs_of_size = [result for result in results if result["size"] == size]
        first = min(min(run["curve"]["seconds"], default=seconds) for run in runs_of_size)
        times = np.geomspace(min(max(first, 0.5), seconds / 2), seconds, 300)
        for (optimiser,), runs in grouped(runs_of_size, "optimiser").items():
            errors = np.asarray([[error_at(run, t) for t in times] for run in runs])
            known = np.isfinite(errors).all(axis=0)
            if not known.any():
                continue
            t, errors, colour = times[known], errors[:, known], COLOURS[optimiser]
            panel.plot(t, np.median(errors, axis=0), color=colour, label=_title(runs[0]))
            panel.fill_between(t, errors.min(axis=0), errors.max(axis=0), color=colour, alpha=0.2, linewidth=0)
        panel.set(xscale="log", yscale="log", xlabel="wall seconds, compiling included")
        panel.set_xticks([t for t in TICKS if times[0] <= t <= seconds], minor=False)
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("")
        panel.set_title(f"{size}, {runs_of_size[0]['parameters']} parameters", fontsize=10)
        panel.grid(which="major", linewidth=0.4)
        if panel.lines:
            panel.legend(fontsize=8, loc="lower left")
    panels[0].set_ylabel("relative L2 error")
    figure.suptitle(results[0]["variant"])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
