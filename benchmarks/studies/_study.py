"""What the studies share: a JSON a case, tables in docs/studies/, and one command line.

    python benchmarks/studies/NAME.py            # runs every case that has no result yet, writes page and picture
    python benchmarks/studies/NAME.py --quick    # one seed and a second or two a training, nothing is kept
    python benchmarks/studies/NAME.py --only burgers

Results are kept in benchmarks/results/studies/NAME/. Trainings are pinned to one core by whoever calls
(``taskset -c 0 python …``), and what they have to compile is compiled before their clock starts.
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
#: Records kept of a curve: as many as a picture can show.
RECORDS = 60

Results = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Study:
    """One experiment.

    Attributes:
        name: of its page, its pictures and its folder of results.
        cases: (seeds, quick) -> ``{case: what runs it}``; quick cases take seconds.
        tables: results -> ``{mark: markdown}``, each put between ``<!-- table: mark -->`` and the end of its page.
        picture: results -> a figure.
        folder: of the results, below benchmarks/results/studies/; default the name. "." lets a study name its cases
            ``OTHER/CASE``, and share what another one measured.
    """

    name: str
    cases: Callable[[Sequence[int], bool], Mapping[str, Callable[[], dict[str, Any]]]]
    tables: Callable[[Results], Mapping[str, str]]
    picture: Callable[[Results], Figure]
    folder: str | None = None


def main(study: Study, doc: str | None) -> None:
    """The command line of a study."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, tiny budgets, results thrown away")
    parser.add_argument("--only", default="", metavar="WORDS", help="only cases with one of these in them")
    parser.add_argument("--table-only", action="store_true", help="run nothing: page and picture of what there is")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if options.quick else RESULTS / (study.folder or study.name)
        cases = study.cases(SEEDS[:1] if options.quick else SEEDS, options.quick)
        if not options.table_only:
            words = options.only.split(",")
            run({name: case for name, case in cases.items() if any(word in name for word in words)}, folder)
        # Others than this call's cases too: of another machine's device, say.
        names = dict.fromkeys([*cases, *sorted(path.stem for path in folder.glob("*.json"))])
        results = {name: json.loads(path.read_text()) for name in names if (path := folder / f"{name}.json").exists()}
    if not results:
        sys.exit(f"{study.name}: no results; run it without --table-only")
    for mark, table in study.tables(results).items():
        print(f"\n{mark}\n\n{table}")
        if not options.quick:
            put(table, mark, PAGES / f"{study.name}.md")
    figure = study.picture(results)
    if not options.quick:
        figure.savefig(ROOT / "docs" / "images" / f"study-{study.name}.png", dpi=110)


def run(cases: Mapping[str, Callable[[], dict[str, Any]]], folder: Path) -> None:
    """Run the cases that have no result, and keep each as it ends."""
    about = describe_machine()
    for name, case in cases.items():
        path = folder / f"{name}.json"
        if not path.exists():
            start = time.perf_counter()
            result = case()
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(result | {"machine": about, "wall": time.perf_counter() - start}, path)
            print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)


def timed(train: Callable[[float], kd.Model], seconds: float) -> kd.Model:
    """``train`` for so many wall seconds, everything compiled by a short training before."""
    train(min(0.3, seconds))
    return train(seconds)


def curve(model: kd.Model, *names: str) -> dict[str, list[float]]:
    """Seconds without compiling, steps and the named columns of the history, of all stages in turn, thinned."""
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


def by(results: Results, *names: str) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """The results grouped by these of their entries, in the order of the cases."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for result in results.values():
        groups.setdefault(tuple(result[name] for name in names), []).append(result)
    return groups


def spread(values: Sequence[float | None], form: str = ".1e") -> str:
    """The median, and from where to where the seeds lie; a value that is not known is infinite."""
    known = [np.inf if value is None else value for value in values]
    three = (float(np.median(known)), min(known), max(known))
    words = [number(value, form) if np.isfinite(value) else "–" for value in three]
    return f"{words[0]} ({words[1]} … {words[2]})" if len(known) > 1 else words[0]


def number(value: float, form: str = ".3g") -> str:
    """In this form, but for a large number, which three digits would turn into a power of ten."""
    return f"{value:,.0f}" if form.endswith("g") and abs(value) >= 100 else f"{value:{form}}"
