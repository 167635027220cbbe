"""Latency of teacher and student on one core by every method, compared with the limit of the core.

    python benchmarks/latency.py [teacher.safetensors student.safetensors] [--write]

The measurement is that of `kdpinn bench`. Without files, it uses the networks of `burgers` with random weights, on
which latency does not depend. The result is kept in benchmarks/results/latency.json. --write puts the table into
docs/results.md and two pictures into docs/images. `pip install 'kdpinn-jax[bench]'` also installs ONNX Runtime and
PyTorch.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from matplotlib.figure import Figure
from presets import PAGE
from studies._tables import put

import kdpinn_jax as kd
from kdpinn_jax.cli import _tables
from kdpinn_jax.serving.export.compiled import built

HERE = Path(__file__).parent
RESULT = HERE / "results" / "latency.json"
IMAGES = HERE.parent / "docs" / "images"
#: Each point differs from the last and depends on the previous value, so that calls cannot overlap.
LOOP = """
#include "m.c"
float loop(long n)
{
    const float lower[] = {%s}, upper[] = {%s};
    float u[M_OUTPUTS] = {0}, z[M_INPUTS], total = 0;
    for (long i = 0; i < n; i++) {
        for (int k = 0; k < M_INPUTS; k++)
            z[k] = lower[k] + (upper[k] - lower[k]) * ((float)(i & 1023) / 1024 + 1e-9f * u[0]);
        m_eval(z, u);
        total += u[0];
    }
    return total;
}
"""
#: The methods for the network without an ansatz.
ALONE = ("jax.jit", "compile_predict", "C")
#: Numbers of points in the table.
COLUMNS = ("1", "1024", "10000", "65536")


def save_untrained(folder: str) -> list[Path]:
    """Save teacher, student, and the student's network alone, without the ansatz and embedding of hard conditions."""
    burgers, paths = kd.problems.ALL["burgers"], []
    for name, conditions in (("teacher", "hard"), ("student", "hard"), ("network alone", "soft")):
        problem = kd.with_conditions(burgers, conditions)
        network = kd.objective(problem, problem.teacher if name == "teacher" else problem.student).network
        params = kd.init_params(problem, network, jax.random.key(0))
        paths.append(Path(folder) / f"{name}.safetensors")
        kd.save(kd.Model(problem, network, params, dict(problem.coefficients)), paths[-1])
    return paths


def one_point_in_c(path: Path, calls: int = 1_000_000) -> float:
    """ns per call of NAME_eval at one point from a loop in C: the shortest of ten loops."""
    from cffi import FFI

    ffi = FFI()
    ffi.cdef("float loop(long n);")
    with tempfile.TemporaryDirectory() as folder:
        model = kd.load(path)
        kd.export_c(model, folder, name="m")
        bounds = (", ".join(f"{x}f" for x in corner) for corner in (model.problem.lower, model.problem.upper))
        source = Path(folder) / "loop.c"
        source.write_text(LOOP % tuple(bounds))
        library = built(ffi, source, ())
    shortest = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        library.loop(calls)
        shortest = min(shortest, time.perf_counter() - start)
    return 1e9 * shortest / calls


def methods(result: Mapping[str, Any]) -> list[str]:
    """The methods that were timed, in order."""
    return list({method: None for by_method in result["sizes"].values() for method in by_method})


def table(result: Mapping[str, Any]) -> str:
    """Markdown: the second model's medians, its ns per point and share of the limit at N = 10,000, and ratios."""
    first, second = result["models"]
    head = ["method", *(f"N = {int(n):,}" for n in COLUMNS), "ns per point", "share of limit", f"{first} / {second}"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for method in methods(result):
        by_size = {n: result["sizes"][n].get(method) for n in COLUMNS}
        cells = [_short(times[second]["median"]) if times else "" for times in by_size.values()]
        large = by_size["10000"]
        share = large[second]["share_of_limit"] if large else None
        ratios = " / ".join(f"{t[first]['median'] / t[second]['median']:.2g}" for t in by_size.values() if t)
        cells += [f"{large[second]['ns_per_point']:.1f}" if large else "", f"{share:.0%}" if share else "", ratios]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _short(us: float) -> str:
    return f"{us:,.0f}" if us >= 1000 else f"{us:.3g}"


def plot_against_size(result: Mapping[str, Any], path: Path) -> None:
    """The shortest time per call against N, with one panel per model."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    panels = figure.subplots(1, len(result["models"]), sharey=True, squeeze=False)[0]
    for panel, (name, model) in zip(panels, result["models"].items(), strict=True):
        for i, method in enumerate(methods(result)):
            sizes = result["sizes"].items()
            times = [(int(n), by_method[method][name]["minimum"]) for n, by_method in sizes if method in by_method]
            panel.loglog(*zip(*times, strict=True), marker="o", markersize=3, label=method, color=f"C{i}")
        if model["limit_ns"]:
            points = [int(n) for n in result["sizes"]]
            limit = [1e-3 * n * model["limit_ns"] for n in points]
            panel.loglog(points, limit, "k--", label="limit of the core")
        panel.set(xlabel="points per call", title=f"{name}, {model['parameters']} parameters")
        panel.grid(linewidth=0.4)
    panels[0].set_ylabel("µs per call, minimum")
    panels[-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=130)


def plot_roofline(result: Mapping[str, Any], path: Path) -> None:
    """Operations per ns against operations per byte of points and values.

    The roofs are the rates of the core's multiply-adds and of its memory. A tanh counts as the number of multiply-adds
    that take the same time.
    """
    rates = result["rates"]
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    marks = dict(zip(result["models"], ("o", "s", "^", "v"), strict=False))
    peak = 2 / rates["multiply_add"]
    intensities = []
    for name, model in result["models"].items():
        multiply_adds = model["multiply_adds"] + model["tanhs"] * rates["tanh"] / rates["multiply_add"]
        numbers = model["layers"][0] + model["layers"][-1]  # float32 numbers read and written per point
        intensities.append(2 * multiply_adds / (4 * numbers))
        for i, method in enumerate(methods(result)):
            if times := result["sizes"]["10000"].get(method):
                label = method if name == next(iter(result["models"])) else None
                height = 2 * multiply_adds / times[name]["ns_per_point"]
                axes.loglog([intensities[-1]], [height], marks[name], color=f"C{i}", markersize=6, label=label)
        axes.annotate(name, (intensities[-1], 1.1 * peak), ha="center", fontsize=9)
    ends = [0.5, 4 * max(intensities)]
    ridge = peak / rates["bandwidth"]
    axes.loglog([ends[0], ridge, ends[1]], [rates["bandwidth"] * ends[0], peak, peak], "k-", linewidth=1)
    axes.set(
        xlabel="operations per byte of points and values, N = 10,000",
        ylabel="GFLOP/s, tanh included",
        ylim=(1, 2 * peak),
    )
    axes.grid(linewidth=0.4)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, help="two model files; default untrained networks of burgers")
    parser.add_argument("--write", action="store_true", help="write the table and the pictures")
    parser.add_argument("--table-only", action="store_true", help="measure nothing; use the stored result")
    options = parser.parse_args()
    if not options.table_only:
        with tempfile.TemporaryDirectory() as folder:
            paths = options.models or save_untrained(folder)
            result = kd.bench(paths[:2])
            result["one_point_in_c_ns"] = {path.stem: one_point_in_c(path) for path in paths}
            result["alone"] = kd.bench(paths[2:], methods=ALONE) if paths[2:] else None
        RESULT.write_text(json.dumps(result) + "\n")
    result = json.loads(RESULT.read_text())
    print(_tables.of_bench(result))
    for name, ns in result["one_point_in_c_ns"].items():
        print(f"one point, called from a loop in C, {name}: {ns:.0f} ns")
    if result["alone"]:
        print(_tables.of_bench(result["alone"]))
    print(table(result))
    if options.write:
        put(table(result), "latency", PAGE)
        plot_against_size(result, IMAGES / "latency.png")
        plot_roofline(result, IMAGES / "roofline.png")
