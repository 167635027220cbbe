"""The table and the picture of the README.

    python benchmarks/overview.py --latency                  # times the students of all problems
    python benchmarks/overview.py --write                    # the table, from benchmarks/results
    kdpinn run burgers --out runs/burgers
    python benchmarks/overview.py --picture runs/burgers     # docs/images/overview.png

The errors are those of benchmarks/presets.py. The latency does not depend on the weights, so it is measured with
untrained students, in a process that is pinned to one core.
"""

import argparse
import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from presets import run
from studies._tables import markdown, put

import kdpinn_jax as kd
from kdpinn_jax.base.storage import write_json
from kdpinn_jax.models.grids import grid, reference_values
from kdpinn_jax.problems import ALL

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "images" / "overview.png"
HEAD = (
    "problem",
    "student",
    "parameters",
    "relative L2, `quick`",
    "relative L2, `default`",
    "`default`, served in float32",
    "µs per call for one point",
    "ns per point in C",
)
LATENCY = Path(__file__).parent / "results" / "overview.json"
RESOLUTION = 201


def measure_latency() -> None:
    """Time the students of all problems by ``compile_predict`` and in C, for one point and for 10,000."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, problem in ALL.items():
            target = kd.objective(problem, problem.student)
            params = kd.init_params(problem, target.network, jax.random.key(0))
            paths.append(Path(folder) / f"{name}.safetensors")
            kd.save(kd.Model(problem, target.network, params, dict(problem.coefficients)), paths[-1])
        write_json(kd.bench(paths, sizes=(1, 10_000), methods=("compile_predict", "C")), LATENCY)


def rows() -> list[tuple[str, ...]]:
    """One row per problem, medians over three seeds."""

    def median(values: Iterable[float]) -> float:
        return float(np.median(list(values)))

    def error(results: Sequence[dict[str, Any] | None]) -> str:
        return f"{median(result['student']['relative_l2'] for result in results if result):.1e}"

    table, latency = [], json.loads(LATENCY.read_text())["sizes"]
    for name in ALL:
        quick, default = (
            [run(name, None, preset, seed, only_stored=True) for seed in range(3)] for preset in ("quick", "default")
        )
        students = [result["student"] for result in default if result]
        served = median(student["float32"][student["quantity"]]["relative_l2"] for student in students)
        table.append(
            (
                f"`{name}`",
                "-".join(map(str, students[0]["layers"])),
                f"{students[0]['parameters']:,}",
                error(quick),
                error(default),
                f"{served:.1e}",
                f"{latency['1']['compile_predict'][name]['median']:.1f}",
                f"{latency['10000']['C'][name]['ns_per_point']:.0f}",
            )
        )
    return table


def picture(folder: Path) -> None:
    """Teacher, student, the student's error, and the latency of both, for one run."""
    result = json.loads((folder / "result.json").read_text())
    models = {role: kd.load(folder / f"{role}.safetensors") for role in ("teacher", "student")}
    problem = models["student"].problem
    z = grid(problem.lower, problem.upper, RESOLUTION)
    exact = reference_values(problem, dict(models["student"].coefficients), z)
    axes = [np.linspace(a, b, RESOLUTION) for a, b in zip(problem.lower, problem.upper, strict=True)]
    figure = Figure(figsize=(15, 3.2), layout="constrained")
    panels = figure.subplots(1, 4)
    fields = {role: np.asarray(model(z))[:, 0] for role, model in models.items()}
    limits = {"vmin": exact.min(), "vmax": exact.max(), "cmap": "RdBu_r"}
    for panel, (role, u) in zip(panels, fields.items(), strict=False):
        panel.pcolormesh(*axes, u.reshape(RESOLUTION, RESOLUTION).T, shading="gouraud", **limits)
        panel.set_title(
            f"{role}, {models[role].parameters:,} parameters\nrelative L2 error {result[role]['relative_l2']:.1e}"
        )
    figure.colorbar(panels[1].collections[0], ax=panels[1], label=problem.fields[0])
    error = np.abs(fields["student"] - exact[:, 0]).reshape(RESOLUTION, RESOLUTION).T
    floor = 1e-4 * error.max()
    scale = LogNorm(floor, error.max())
    image = panels[2].pcolormesh(*axes, np.maximum(error, floor), shading="gouraud", cmap="magma", norm=scale)
    figure.colorbar(image, ax=panels[2])
    panels[2].set_title("absolute error of the student")
    for panel in panels[:3]:
        panel.set(xlabel=problem.axes[0], ylabel=problem.axes[1])
    sizes = list(result["student"]["latency"])
    positions = np.arange(len(sizes))
    for i, (role, colour) in enumerate((("teacher", "0.6"), ("student", "C3"))):
        times = [result[role]["latency"][n]["median"] for n in sizes]
        bars = panels[3].bar(positions + 0.4 * i - 0.2, times, 0.38, label=role, color=colour)
        panels[3].bar_label(bars, [f"{t:.0f}" for t in times], fontsize=8)
    panels[3].set(yscale="log", xlabel="points", ylabel="µs per call, one core", title="latency of compile_predict")
    panels[3].set_xticks(positions, [f"{int(n):,}" for n in sizes])
    panels[3].legend(fontsize=8, loc="upper left")
    figure.suptitle(
        f"{problem.name}: one `kdpinn run`, {result['preset']} preset, float32 predictions from NumPy arrays"
    )
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", action="store_true", help="time the students")
    parser.add_argument("--picture", type=Path, metavar="DIR", help="draw a folder written by kdpinn run")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    if options.latency:
        measure_latency()
    if options.picture:
        picture(options.picture)
    table = markdown(HEAD, rows())
    print(table)
    if options.write:
        put(table, "overview", ROOT / "README.md")
