"""The smallest students of four problems: a teacher each, a search of its students in the C engine, and the table.

    python benchmarks/search.py burgers black_scholes allen_cahn taylor_green
    python benchmarks/search.py --write

Each problem is ``kdpinn train`` and ``kdpinn search`` as anyone would call them; search.json is kept in
results/search/. ``--write`` puts the table into the README.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from studies._tables import markdown, put

RESULTS = Path(__file__).parent / "results" / "search"
PICTURES = Path(__file__).parents[1] / "docs" / "images"
README = Path(__file__).parents[1] / "README.md"
PROBLEMS = ("burgers", "black_scholes", "allen_cahn", "taylor_green")
#: Longer than the default, and with more networks, where the loss falls slowly.
OPTIONS = {"allen_cahn": ("--rungs", "2,4,8,16,16", "--keep", "0.7")}
ERRORS = (1e-2, 1e-3, 1e-4)
#: The accuracy of the paper's Burgers teacher, as RMSE (arXiv 2512.13336).
PAPER = 3.49e-2


def measure(problem: str) -> None:
    """Train a teacher, search its students, keep search.json with the teacher's RMSE over its relative L2 error."""
    kdpinn = [sys.executable, "-m", "kdpinn_jax"]
    with tempfile.TemporaryDirectory() as folder:
        teacher, out = Path(folder) / "teacher.safetensors", Path(folder) / "search"
        subprocess.run([*kdpinn, "train", problem, "--quiet", "--out", teacher], check=True)
        errors = json.loads(subprocess.check_output([*kdpinn, "evaluate", teacher, "--json"]))
        options = ["--engine", "c", *OPTIONS.get(problem, ())]
        subprocess.run([*kdpinn, "search", teacher, *options, "--out", out], check=True)
        found = json.loads((out / "search.json").read_text())
        found["rmse_over_relative_l2"] = errors["rmse"] / errors["relative_l2"]
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{problem}.json").write_text(json.dumps(found, indent=1) + "\n")
        shutil.copy(out / "search.png", PICTURES / f"search-{problem}.png")


def smallest(found: dict, error: float) -> dict | None:
    """The cheapest student within the error."""
    within = [row for row in found["candidates"] if row["role"] != "teacher" and row["relative_l2"] <= error]
    return min(within, key=lambda row: row["ns_per_point"], default=None)


def cell(row: dict | None) -> str:
    if row is None:
        return "none"
    return f"{row['layers']}, {row['ns_per_point']:.1f} ns ({row['times_cheaper']:.1f}×)"


def table() -> str:
    rows = []
    for problem in PROBLEMS:
        found = json.loads((RESULTS / f"{problem}.json").read_text())
        teacher = found["candidates"][-1]
        of_teacher = f"{teacher['relative_l2']:.1e}, {teacher['ns_per_point']:.0f} ns"
        rows.append([problem, of_teacher, *(cell(smallest(found, error)) for error in ERRORS)])
    found = json.loads((RESULTS / "burgers.json").read_text())
    paper = smallest(found, PAPER / found["rmse_over_relative_l2"])
    head = ["problem", "teacher", *(f"relative L2 ≤ {error:.0e}" for error in ERRORS)]
    about = f"Burgers at the paper's teacher's RMSE of {PAPER:.2e}: {cell(paper)}."
    return "\n".join([markdown(head, rows), "", about])


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("problems", nargs="*", choices=[*PROBLEMS, []])
    asked.add_argument("--write", action="store_true", help="put the table into the README")
    given = asked.parse_args()
    for problem in given.problems:
        measure(problem)
    if given.write:
        put(table(), "search", README)


if __name__ == "__main__":
    main()
