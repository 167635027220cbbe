"""The presets' recipes on every problem, each a whole ``kdpinn run`` from a cold start, and the table of the README.

    python benchmarks/presets.py quick default --seeds 0,1,2     # runs what has no result yet, prints the table
    python benchmarks/presets.py quick --table-only --write      # puts what there is into the two README.md

Every run has an empty compilation cache, so that its wall time is a first-time user's. Results are kept in
benchmarks/results/presets/.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from studies._tables import markdown, put

from kdpinn_jax.problems import ALL

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "presets"
PAGES = (HERE.parent / "README.md", HERE / "README.md")
#: Problem and conditions; None are the recipe's own.
CASES = [(name, None) for name in ALL] + [("burgers", "soft"), ("taylor_green", "soft")]
HEAD = ("problem", "preset", "teacher, relative L2", "student", "student in float32", "wall s")


def run(problem: str, conditions: str | None, preset: str, seed: int, make: bool = True) -> dict | None:
    """result.json of one run, with the seconds of the whole command under ``"wall"``; where it is not there it is made,
    or None."""
    folder = RESULTS / f"{problem}{f'-{conditions}' if conditions else ''}-{preset}-{seed}"
    kept, wall = folder / "result.json", folder / "wall.json"
    if not wall.exists():
        if not make:
            return None
        words = ["run", problem, "--preset", preset, "--seed", str(seed), "--out", str(folder), "--quiet"]
        words += ["--conditions", conditions] if conditions else []
        with tempfile.TemporaryDirectory() as cache:
            environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}
            start = time.perf_counter()
            command = [sys.executable, "-m", "kdpinn_jax", *words]
            subprocess.run(command, check=True, stdout=sys.stderr, env=environment)
            wall.write_text(json.dumps({"seconds": time.perf_counter() - start}))
    return json.loads(kept.read_text()) | {"wall": json.loads(wall.read_text())["seconds"]}


def row(problem: str, conditions: str | None, preset: str, results: list[dict]) -> tuple[str, ...]:
    """Medians over the seeds, and the worst in brackets."""

    def spread(values: Iterable[float], form: str) -> str:
        values = list(values)
        worst = f" ({max(values):{form}})" if len(values) > 1 else ""
        return f"{np.median(values):{form}}{worst}"

    quantity = results[0]["student"]["quantity"]
    name = f"`{problem}`{f', {conditions} conditions' if conditions else ''}"
    return (
        name,
        f"`{preset}`",
        spread((r["teacher"]["relative_l2"] for r in results), ".1e"),
        spread((r["student"]["relative_l2"] for r in results), ".1e"),
        spread((r["student"]["float32"][quantity]["relative_l2"] for r in results), ".1e"),
        spread((r["wall"] for r in results), ".0f"),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="+")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--problems", default=",".join(ALL))
    parser.add_argument("--table-only", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows = []
    for preset in options.presets:
        for problem, conditions in CASES:
            if problem in options.problems.split(","):
                seeds = map(int, options.seeds.split(","))
                results = [run(problem, conditions, preset, seed, make=not options.table_only) for seed in seeds]
                if found := [result for result in results if result]:
                    rows.append(row(problem, conditions, preset, found))
                    print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    table = markdown(HEAD, rows)
    print(table)
    if options.write:
        for page in PAGES:
            put(table, "presets", page)
