"""The public benchmark PINNacle (arXiv 2306.08827): one problem file per case, soft conditions, nothing tuned per case.

    python benchmarks/pinnacle --seconds 300 --seeds 0,1,2          # train every case without a result, print the table
    python benchmarks/pinnacle wave1d --seconds 60 --weights equal  # one case, with other options
    python benchmarks/pinnacle --table-only --write                 # put the stored results into docs/pinnacle.md
    python benchmarks/pinnacle --compare-weights --seconds 60 --seeds 0 --layers 20,20,20 --write  # weights
    python benchmarks/pinnacle --files DIR                          # how far PINNacle's data are from our references

Results are kept in benchmarks/results/pinnacle/. ``taskset -c 0`` restricts it to one core.
"""

import argparse
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from studies._tables import markdown, put  # noqa: E402

import kdpinn_jax as kd  # noqa: E402

RESULTS = HERE.parent / "results" / "pinnacle"
PAGE = HERE.parent.parent / "docs" / "pinnacle.md"
#: The best published relative L2 error of each case: of the eleven methods of PINNacle, or DSGNAR (an H100).
PUBLISHED = {
    "burgers1d": 1.34e-2,
    "poisson2d_c": 8.15e-3,
    "poisson2d_cg": 4.11e-3,
    "heat2d_ms": 1.40e-2,
    "wave1d": 1.2e-15,
    "poisson_nd": 1.31e-4,
    "heat_nd": 1.19e-4,
}
HEAD = ("case", "best published", "relative L2, median (worst)", "better by a factor of", "seeds", "warnings")
HEAD_OF_WEIGHTS = ("case", "equal weights", "balanced weights", "ratio", "the balanced weights")


def train(case: str, seed: int, seconds: float, weights: str, layers: tuple[int, ...]) -> dict[str, Any]:
    """The result of one training."""
    problem = importlib.import_module(case).problem
    start = time.perf_counter()
    model = kd.train_teacher(
        problem,
        jax.random.key(seed),
        network=kd.MLP(layers),
        weights="balanced" if weights == "balanced" else dict.fromkeys(problem.terms, 1.0),
        time_budget=seconds,
        progress=False,
    )
    wall = time.perf_counter() - start
    return {
        "case": case,
        "seed": seed,
        "seconds": wall,
        "weights": {name: term.weight for name, term in model.training[-1].terms.items()},
        "layers": model.layers,
        "steps": sum(int(report.steps) for report in model.training),
        "relative_l2": kd.evaluate(model).relative_l2,
        "warnings": kd.diagnose(model.training),
    }


def results(arguments: argparse.Namespace, case: str, weights: str) -> list[dict[str, Any]]:
    """The results of a case for all seeds; those that are not stored are computed, unless only the table is wanted."""
    found = []
    for seed in arguments.seeds:
        layers = "-".join(map(str, arguments.layers))
        path = RESULTS / f"{case}-{weights}-{layers}-{arguments.seconds:g}s-{seed}.json"
        if not path.exists() and not arguments.table_only:
            result = train(case, seed, arguments.seconds, weights, arguments.layers)
            print(f"{case}, {weights} weights, seed {seed}: {result['relative_l2']:.2e}", file=sys.stderr)
            path.write_text(json.dumps(result, indent=1) + "\n")
        if path.exists():
            found.append(json.loads(path.read_text()))
    return found


def weights_row(case: str, equal: list[dict[str, Any]], balanced: list[dict[str, Any]]) -> tuple[str, ...]:
    """Median errors with equal and with balanced weights, and the balanced weights of the first seed."""
    errors = [float(np.median([result["relative_l2"] for result in results])) for results in (equal, balanced)]
    weights = ", ".join(f"{name} {weight:.2g}" for name, weight in balanced[0]["weights"].items())
    return (f"`{case}`", *(f"{error:.1e}" for error in errors), f"{errors[0] / errors[1]:.2g}", weights)


def row(case: str, results: list[dict[str, Any]]) -> tuple[str, ...]:
    """The row of a case in the table."""
    errors = [result["relative_l2"] for result in results]
    median = float(np.median(errors))
    warned = sum(bool(result["warnings"]) for result in results)
    return (
        f"`{case}`",
        f"{PUBLISHED[case]:.2e}",
        f"{median:.1e} ({max(errors):.1e})",
        f"{PUBLISHED[case] / median:.2g}",
        str(len(errors)),
        f"{warned} of {len(errors)}",
    )


def compare_files(folder: Path) -> None:
    """Print how far PINNacle's own data are from our references."""
    for case in PUBLISHED:
        module = importlib.import_module(case)
        if hasattr(module, "COMSOL"):
            rows = np.loadtxt(folder / module.COMSOL, comments="%")
            d = len(module.problem.axes)
            exact = module.values(rows[:, :d])
            error = np.linalg.norm(exact - rows[:, d:]) / np.linalg.norm(exact)
            print(f"{case}: {module.COMSOL} differs from our reference by {error:.2e} (relative L2)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help="default: all")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--weights", choices=("balanced", "equal"), default="balanced")
    parser.add_argument("--layers", type=lambda text: tuple(map(int, text.split(","))), default=(30, 30, 30))
    parser.add_argument("--compare-weights", action="store_true", help="the table of both kinds of weights")
    parser.add_argument("--table-only", action="store_true")
    parser.add_argument("--write", action="store_true", help="write the table into docs/pinnacle.md")
    parser.add_argument("--files", type=Path, help="the folder of PINNacle's data")
    arguments = parser.parse_args()
    if unknown := set(arguments.cases) - set(PUBLISHED):
        parser.error(f"unknown cases {sorted(unknown)}; the cases are {', '.join(PUBLISHED)}")
    jax.config.update("jax_enable_x64", True)
    if arguments.files:
        compare_files(arguments.files)
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    kinds = ("equal", "balanced") if arguments.compare_weights else (arguments.weights,)
    rows = []
    for case in arguments.cases or PUBLISHED:
        found = [results(arguments, case, kind) for kind in kinds]
        if all(found):
            rows.append(weights_row(case, *found) if arguments.compare_weights else row(case, *found))
    table = markdown(HEAD_OF_WEIGHTS if arguments.compare_weights else HEAD, rows)
    print(table)
    if arguments.write:
        put(table, "weights" if arguments.compare_weights else "pinnacle", PAGE)


if __name__ == "__main__":
    main()
