"""Shared parts of the studies: one JSON file per case, tables in docs/studies/, and the command line.

    python benchmarks/studies/NAME.py            # run every case without a result, then write the page and the picture
    python benchmarks/studies/NAME.py --quick    # one seed and one or two seconds per training; nothing is kept
    python benchmarks/studies/NAME.py --only burgers

Results are kept in benchmarks/results/studies/NAME/. The caller pins the process to one core (``taskset -c 0 …``).
Compilation finishes before the clock of a training starts.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from _tables import markdown as markdown
from _tables import put
from matplotlib.figure import Figure

import kdpinn_jax as kd
from kdpinn_jax.base.machine import describe_machine
from kdpinn_jax.base.storage import write_json

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "studies"
PAGES = ROOT / "docs" / "studies"
SEEDS = (0, 1, 2, 3, 4)
#: Records kept of each curve: as many as a picture can show.
RECORDS = 60

#: The content of a case's JSON file.
Result = dict[str, Any]
Results = dict[str, Result]
#: ``{case: function that runs it}``.
Cases = dict[str, Callable[[], Result]]


@dataclass(frozen=True)
class Study:
    """One experiment.

    Attributes:
        name: the name of its page, its picture and its folder of results.
        cases: (seeds, quick) -> ``{case: function that runs it}``; quick cases take seconds.
        tables: results -> ``{marker: Markdown}``; each table goes to the place in the page that has its marker.
        picture: results -> a figure.
        folder: the folder of the results below benchmarks/results/studies/; default ``name``. With ``"."`` a study
            names its cases ``OTHER/CASE`` and shares the results of other studies.
    """

    name: str
    cases: Callable[[Sequence[int], bool], Cases]
    tables: Callable[[Results], Mapping[str, str]]
    picture: Callable[[Results], Figure]
    folder: str | None = None


def main(study: Study, doc: str | None) -> None:
    """The command line of a study; ``doc`` is its help text."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed and tiny budgets; results are discarded")
    parser.add_argument(
        "--only", default="", metavar="TEXT,…", help="run only the cases whose name contains one of these texts"
    )
    parser.add_argument(
        "--table-only", action="store_true", help="run nothing; write the page and the picture from the stored results"
    )
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if options.quick else RESULTS / (study.folder or study.name)
        cases = study.cases(SEEDS[:1] if options.quick else SEEDS, options.quick)
        if not options.table_only:
            texts = options.only.split(",")
            run({name: case for name, case in cases.items() if any(text in name for text in texts)}, folder)
        # The folder may hold further cases, for example those of another machine's device.
        names = dict.fromkeys([*cases, *sorted(path.stem for path in folder.glob("*.json"))])
        results = {name: json.loads(path.read_text()) for name in names if (path := folder / f"{name}.json").exists()}
    if not results:
        sys.exit(f"{study.name}: found no stored results; run it without --table-only first")
    for marker, table in study.tables(results).items():
        print(f"\n{marker}\n\n{table}")
        if not options.quick:
            put(table, marker, PAGES / f"{study.name}.md")
    figure = study.picture(results)
    if not options.quick:
        figure.savefig(ROOT / "docs" / "images" / f"study-{study.name}.png", dpi=110)


def run(cases: Mapping[str, Callable[[], Result]], folder: Path) -> None:
    """Run the cases that have no result yet, and store each result when its case ends."""
    machine = describe_machine()
    for name, case in cases.items():
        path = folder / f"{name}.json"
        if not path.exists():
            start = time.perf_counter()
            result = case()
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(result | {"machine": machine, "wall": time.perf_counter() - start}, path)
            print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)


def train_compiled(train: Callable[[float], kd.Model], seconds: float) -> kd.Model:
    """``train`` for this many wall seconds, after a short training that compiles everything."""
    train(min(0.3, seconds))
    return train(seconds)


def curve(model: kd.Model, *names: str) -> dict[str, list[float]]:
    """Seconds without compilation, steps and the named columns of the history, over all stages, thinned to RECORDS."""
    columns: dict[str, list[float]] = {name: [] for name in ("seconds", "step", *names)}
    seconds, steps = 0.0, 0
    for report in model.training:
        columns["seconds"] += list(seconds + np.asarray(report.record_seconds))
        columns["step"] += list(steps + np.asarray(report.record_steps))
        for name in names:
            columns[name] += list(np.asarray(report.history.get(name, np.full(len(report.record_steps), np.nan))))
        seconds, steps = seconds + float(report.seconds), steps + int(report.steps)
    n = len(columns["seconds"])
    chosen = np.unique(np.geomspace(1, n, RECORDS).astype(int)) - 1 if n > RECORDS else np.arange(n)
    return {name: [float(f"{values[i]:.4g}") for i in chosen] for name, values in columns.items()}


def by(results: Mapping[Any, Result], *names: str) -> dict[tuple[Any, ...], list[Result]]:
    """The results grouped by the named entries, in the order of the cases."""
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for result in results.values():
        groups.setdefault(tuple(result[name] for name in names), []).append(result)
    return groups


def spread(values: Sequence[float | None], form: str = ".1e") -> str:
    """The median with the range of the seeds in parentheses. An unknown value counts as infinite, shown as a dash."""
    numbers = [np.inf if value is None else value for value in values]
    statistics = (float(np.median(numbers)), min(numbers), max(numbers))
    median, smallest, largest = (number(value, form) if np.isfinite(value) else "–" for value in statistics)
    return f"{median} ({smallest} … {largest})" if len(numbers) > 1 else median


def number(value: float, form: str = ".3g") -> str:
    """The value in this format; with a ``g`` format, values from 100 on are written without an exponent."""
    return f"{value:,.0f}" if form.endswith("g") and abs(value) >= 100 else f"{value:{form}}"
