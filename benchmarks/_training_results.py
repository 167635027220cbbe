"""Shared parts of training.py and deepxde_baseline.py: one JSON file per run, the table and the pictures.

The imports are limited to NumPy and Matplotlib, so that the environment of DeepXDE can import this file too.
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
#: The colour of each optimiser. DeepXDE, which always uses soft conditions, is also shown next to hard ones.
COLOURS = {"Adam": "C7", "LBFGS": "C0", "SSBroyden": "C2", "LevenbergMarquardt": "C3", "DeepXDE": "C1"}
#: Records kept of each curve: as many as a picture can show, so that files remain small.
RECORDS = 100
#: The times of the table's columns before the last one, in seconds.
TIMES = (10.0, 30.0)
TICKS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800)


def file_of(variant: str, size: str, optimiser: str, seed: int, seconds: float) -> Path:
    return RESULTS / f"{variant}-{size}-{optimiser}-{seed}-{seconds:g}s.json"


def thinned(curve: Mapping[str, Sequence[float] | np.ndarray]) -> dict[str, list[float]]:
    """At most RECORDS records, evenly spaced in the logarithm of ``curve["seconds"]``, with four digits."""
    seconds = np.asarray(curve["seconds"], float)
    if len(seconds) > RECORDS:
        times = np.geomspace(max(seconds[0], 1e-3), seconds[-1], RECORDS)
        chosen = np.unique(np.searchsorted(seconds, times * (1 - 1e-12)).clip(0, len(seconds) - 1))
    else:
        chosen = np.arange(len(seconds))
    return {name: [float(f"{values[i]:.4g}") for i in chosen.tolist()] for name, values in curve.items()}


def read(variants: Iterable[str], sizes: Iterable[str], optimisers: Iterable[str], seconds: float) -> list[dict]:
    """All stored results, as ``{"variant", "size", "optimiser", …}``, in the order of the arguments."""
    results = []
    for variant in variants:
        for size in sizes:
            for optimiser in (*optimisers, "DeepXDE"):
                stem = variant.removesuffix("-soft") if optimiser == "DeepXDE" else variant
                for path in sorted(RESULTS.glob(file_of(stem, size, optimiser, 0, seconds).name.replace("-0-", "-*-"))):
                    results.append(json.loads(path.read_text()) | {"variant": variant})
    return results


def error_at(result: Mapping[str, Any], seconds: float) -> float:
    """The relative L2 error of the last record up to this time; infinite before the first one."""
    records = zip(result["curve"]["seconds"], result["curve"]["relative_l2"], strict=True)
    errors = [error for second, error in records if second <= seconds and error is not None]
    return errors[-1] if errors else math.inf


def grouped(results: Iterable[dict], *names: str) -> dict[tuple, list[dict]]:
    groups: dict[tuple, list[dict]] = {}
    for result in results:
        groups.setdefault(tuple(result[name] for name in names), []).append(result)
    return groups


def _title(run: Mapping[str, Any]) -> str:
    differs = run["conditions"] == "soft" and run["variant"] == run["problem"] and run["optimiser"] == "DeepXDE"
    return run["optimiser"] + (", soft conditions" if differs else "")


def _median_and_worst(errors: Sequence[float]) -> str:
    """The cell for the errors of several seeds; an infinite error is one without a record yet, shown as a dash."""
    if not np.isfinite(np.median(errors)):
        return "–"
    worst = max(errors)
    return f"{np.median(errors):.1e} ({f'{worst:.1e}' if np.isfinite(worst) else '–'})"


def table(results: list[dict], seconds: float) -> str:
    """Markdown with one row per problem, size and optimiser: the median and the worst of the seeds."""
    times = [t for t in TIMES if t < seconds]
    head = ["problem", "network", "optimiser", *(f"{t:g} s" for t in times), f"{seconds:g} s", "predicted in float32"]
    head += ["steps", "compile time, s", "seeds"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for (variant, size, _), runs in grouped(results, "variant", "size", "optimiser").items():
        errors = [[error_at(run, t) for run in runs] for t in times]
        errors += [[run[name]["relative_l2"] for run in runs] for name in ("final", "float32")]
        errors = [[math.inf if e is None else e for e in seed_errors] for seed_errors in errors]
        steps = np.median([sum(stage["steps"] for stage in run["stages"]) for run in runs])
        compiling = np.median([sum(stage["seconds_compiling"] for stage in run["stages"]) for run in runs])
        cells = [f"`{variant}`", f"{size}, {runs[0]['parameters']}", _title(runs[0]), *map(_median_and_worst, errors)]
        lines.append(f"| {' | '.join([*cells, f'{steps:.0f}', f'{compiling:.0f}', str(len(runs))])} |")
    return "\n".join(lines)


def picture(results: list[dict], seconds: float, path: Path) -> None:
    """Error against wall time for one problem, one panel per size: the median of the seeds, with their range shaded."""
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
        panel.set(xscale="log", yscale="log", xlabel="wall seconds, compilation included")
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
