"""The recipes of the presets on every problem, each as a complete ``kdpinn run`` from a cold start, and their table.

    python benchmarks/presets.py quick default --seeds 0,1,2     # run everything without a result, print the table
    python benchmarks/presets.py quick --table-only --write      # put the stored results into docs/results.md

Every run has an empty compilation cache, so that its wall time is that of a first run. Results are kept in
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
from typing import Any

import numpy as np
from studies._tables import markdown, put

from kdpinn_jax.problems import ALL

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "presets"
PAGE = HERE.parent / "docs" / "results.md"
#: Problem and conditions; None for the conditions of the recipe.
CASES = [(name, None) for name in ALL] + [("burgers", "soft"), ("taylor_green", "soft")]
HEAD = ("problem", "preset", "teacher, relative L2", "student", "student in float32", "wall time, s")


def run(
    problem: str, conditions: str | None, preset: str, seed: int, only_stored: bool = False
) -> dict[str, Any] | None:
    """result.json of one run, with the wall time of the command in seconds as ``"wall"``.

    A run without a stored result is executed. With ``only_stored`` it is None.
    """
    folder = RESULTS / f"{problem}{f'-{conditions}' if conditions else ''}-{preset}-{seed}"
    result, wall = folder / "result.json", folder / "wall.json"
    if not wall.exists():
        if only_stored:
            return None
        arguments = ["run", problem, "--preset", preset, "--seed", str(seed), "--out", str(folder), "--quiet"]
        arguments += ["--conditions", conditions] if conditions else []
        with tempfile.TemporaryDirectory() as cache:
            environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}
            start = time.perf_counter()
            command = [sys.executable, "-m", "kdpinn_jax", *arguments]
            subprocess.run(command, check=True, stdout=sys.stderr, env=environment)
            wall.write_text(json.dumps({"seconds": time.perf_counter() - start}))
    return json.loads(result.read_text()) | {"wall": json.loads(wall.read_text())["seconds"]}


def row(problem: str, conditions: str | None, preset: str, results: list[dict[str, Any]]) -> tuple[str, ...]:
    """Medians over the seeds, with the worst seed in parentheses."""

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
    parser.add_argument("presets", nargs="+", help="names of presets")
    parser.add_argument("--seeds", default="0,1,2", help="whole numbers, separated by commas")
    parser.add_argument("--problems", default=",".join(ALL), help="names, separated by commas")
    parser.add_argument("--table-only", action="store_true", help="run nothing; use the stored results")
    parser.add_argument("--write", action="store_true", help="put the table into docs/results.md")
    options = parser.parse_args()
    rows = []
    for preset in options.presets:
        for problem, conditions in CASES:
            if problem in options.problems.split(","):
                seeds = map(int, options.seeds.split(","))
                runs = [run(problem, conditions, preset, seed, only_stored=options.table_only) for seed in seeds]
                if results := [result for result in runs if result]:
                    rows.append(row(problem, conditions, preset, results))
                    print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    table = markdown(HEAD, rows)
    print(table)
    if options.write:
        put(table, "presets", PAGE)
