"""The smallest students of four problems: one teacher per problem, a search for its students in C, and the table.

    python benchmarks/search.py burgers black_scholes allen_cahn taylor_green
    python benchmarks/search.py --write

For each problem the script calls ``kdpinn train`` and ``kdpinn search``, and keeps search.json in
benchmarks/results/search/. ``--write`` puts the table into docs/results.md.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from presets import PAGE
from studies._tables import markdown, put

RESULTS = Path(__file__).parent / "results" / "search"
PICTURES = Path(__file__).parents[1] / "docs" / "images"
PROBLEMS = ("burgers", "black_scholes", "allen_cahn", "taylor_green")
#: More steps than the default, and more networks until the end, for a problem whose loss falls slowly.
OPTIONS = {"allen_cahn": ("--rungs", "2,4,8,16,16", "--keep", "0.7")}
#: The errors of the table's columns.
ERRORS = (1e-2, 1e-3, 1e-4)
#: The RMSE of the paper's teacher for Burgers (arXiv 2512.13336).
PAPER_RMSE = 3.49e-2


def measure(problem: str) -> None:
    """Train a teacher, search for its students, and store search.json with the ratio of RMSE to relative L2 error."""
    kdpinn = [sys.executable, "-m", "kdpinn_jax"]
    with tempfile.TemporaryDirectory() as folder:
        teacher, out = Path(folder) / "teacher.safetensors", Path(folder) / "search"
        subprocess.run([*kdpinn, "train", problem, "--quiet", "--out", teacher], check=True)
        errors = json.loads(subprocess.check_output([*kdpinn, "evaluate", teacher, "--json"]))
        options = ["--engine", "c", *OPTIONS.get(problem, ())]
        subprocess.run([*kdpinn, "search", teacher, *options, "--out", out], check=True)
        result = json.loads((out / "search.json").read_text())
        result["rmse_over_relative_l2"] = errors["rmse"] / errors["relative_l2"]
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{problem}.json").write_text(json.dumps(result, indent=1) + "\n")
        shutil.copy(out / "search.png", PICTURES / f"search-{problem}.png")


def smallest(result: dict[str, Any], error: float) -> dict[str, Any] | None:
    """The cheapest student with at most this error."""
    within = [row for row in result["candidates"] if row["role"] != "teacher" and row["relative_l2"] <= error]
    return min(within, key=lambda row: row["ns_per_point"], default=None)


def cell(row: dict[str, Any] | None) -> str:
    """Layers, ns per point, and the factor over the teacher."""
    if row is None:
        return "none"
    return f"{row['layers']}, {row['ns_per_point']:.1f} ns ({row['times_cheaper']:.1f}×)"


def table() -> str:
    rows = []
    for problem in PROBLEMS:
        result = json.loads((RESULTS / f"{problem}.json").read_text())
        teacher = result["candidates"][-1]
        teacher_cell = f"{teacher['relative_l2']:.1e}, {teacher['ns_per_point']:.0f} ns"
        rows.append([problem, teacher_cell, *(cell(smallest(result, error)) for error in ERRORS)])
    burgers = json.loads((RESULTS / "burgers.json").read_text())
    student = smallest(burgers, PAPER_RMSE / burgers["rmse_over_relative_l2"])
    head = ["problem", "teacher", *(f"relative L2 ≤ {error:.0e}" for error in ERRORS)]
    sentence = f"At the RMSE of the paper's Burgers teacher, {PAPER_RMSE:.2e}: {cell(student)}."
    return "\n".join([markdown(head, rows), "", sentence])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", nargs="*", choices=[*PROBLEMS, []], help="problems to search; default none")
    parser.add_argument("--write", action="store_true", help="put the table into docs/results.md")
    options = parser.parse_args()
    for problem in options.problems:
        measure(problem)
    if options.write:
        put(table(), "search", PAGE)


if __name__ == "__main__":
    main()
