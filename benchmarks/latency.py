"""Latency of teacher and student on one core by every method, against what the core can do; two pictures and a table.

    python benchmarks/latency.py [teacher.safetensors student.safetensors] [--write]

What `kdpinn bench` measures; without files the networks of `burgers` with random weights, on which latency does not
depend. The result is kept in benchmarks/results/latency.json; --write puts the table into README.md and the pictures
into docs/images. `pip install 'kdpinn-jax[bench]'` brings ONNX Runtime and PyTorch beside it.
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
from presets import PAGES
from studies._tables import put

import kdpinn_jax as kd
from kdpinn_jax.cli import _tables
from kdpinn_jax import bench
from kdpinn_jax.serving.export.compiled import built

HERE = Path(__file__).parent
RESULT = HERE / "results" / "latency.json"
IMAGES = HERE.parent / "docs" / "images"
#: Every point differs, and depends on the value before, so that calls cannot overlap.
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
#: The methods by which the network without an ansatz is timed.
ALONE = ("jax.jit", "compile_predict", "C")
COLUMNS = ("1", "1024", "10000", "65536")


def fresh(folder: str) -> list[Path]:
    """Teacher, student, and the student's network alone, without the ansatz and embedding of hard conditions."""
    burgers, paths = kd.problems.ALL["burgers"], []
    for name, conditions in (("teacher", "hard"), ("student", "hard"), ("network alone", "soft")):
        problem = kd.with_conditions(burgers, conditions)
        network = kd.objective(problem, problem.teacher if name == "teacher" else problem.student).network
        params = kd.init_params(problem, network, jax.random.key(0))
        paths.append(Path(folder) / f"{name}.safetensors")
        kd.save(kd.Model(problem, network, params, dict(problem.coefficients)), paths[-1])
    return paths


def one_point_in_c(path: Path, calls: int = 1_000_000) -> float:
    """ns of NAME_eval at one point, called in a loop of C: the least of ten loops."""
    from cffi import FFI

    ffi = FFI()
    ffi.cdef("float loop(long n);")
    with tempfile.TemporaryDirectory() as folder:
        model = kd.load(path)
        kd.export_c(model, folder, name="m")
        bounds = (", ".join(f"{x}f" for x in of) for of in (model.problem.lower, model.problem.upper))
        source = Path(folder) / "loop.c"
        source.write_text(LOOP % tuple(bounds))
        library = built(ffi, source, ())
    least = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        library.loop(calls)
        least = min(least, time.perf_counter() - start)
    return 1e9 * least / calls


def methods(found: Mapping[str, Any]) -> list[str]:
    return list({method: None for of_methods in found["sizes"].values() for method in of_methods})


def table(found: Mapping[str, Any]) -> str:
    """Markdown: the second model's medians, its ns a point and share of the limit at N = 10,000, and ratios."""
    first, second = found["models"]
    head = ["method", *(f"N = {int(n):,}" for n in COLUMNS), "ns a point", "of the limit", f"{first} / {second}"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for method in methods(found):
        times = {n: found["sizes"][n].get(method) for n in COLUMNS}
        cells = [_short(of[second]["median"]) if of else "" for of in times.values()]
        large = times["10000"]
        share = large[second]["share_of_limit"] if large else None
        ratios = " / ".join(f"{of[first]['median'] / of[second]['median']:.2g}" for of in times.values() if of)
        cells += [f"{large[second]['ns_per_point']:.1f}" if large else "", f"{share:.0%}" if share else "", ratios]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _short(us: float) -> str:
    return f"{us:,.0f}" if us >= 1000 else f"{us:.3g}"


def against_size(found: Mapping[str, Any], path: Path) -> None:
    """Least µs a call against N, a panel a model."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    panels = figure.subplots(1, len(found["models"]), sharey=True, squeeze=False)[0]
    for panel, (name, model) in zip(panels, found["models"].items(), strict=True):
        for i, method in enumerate(methods(found)):
            cases = [(int(n), of[method][name]["minimum"]) for n, of in found["sizes"].items() if method in of]
            panel.loglog(*zip(*cases, strict=True), marker="o", markersize=3, label=method, color=f"C{i}")
        if model["limit_ns"]:
            sizes = [int(n) for n in found["sizes"]]
            limit = [1e-3 * n * model["limit_ns"] for n in sizes]
            panel.loglog(sizes, limit, "k--", label="limit of the core")
        panel.set(xlabel="points a call", title=f"{name}, {model['parameters']} parameters")
        panel.grid(linewidth=0.4)
    panels[0].set_ylabel("µs a call, minimum")
    panels[-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=130)


def roofline(found: Mapping[str, Any], path: Path) -> None:
    """Work a ns against work a byte of points and values: the roofs are the core's multiply-adds and its memory. A tanh
    counts as the multiply-adds that fit into its time."""
    rates = found["rates"]
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    marks = dict(zip(found["models"], ("o", "s", "^", "v"), strict=False))
    peak = 2 / rates["multiply_add"]
    intensities = []
    for name, model in found["models"].items():
        adds = model["multiply_adds"] + model["tanhs"] * rates["tanh"] / rates["multiply_add"]
        numbers = model["layers"][0] + model["layers"][-1]  # of float32 read and written
        intensities.append(2 * adds / (4 * numbers))
        for i, method in enumerate(methods(found)):
            if of := found["sizes"]["10000"].get(method):
                label = method if name == next(iter(found["models"])) else None
                height = 2 * adds / of[name]["ns_per_point"]
                axes.loglog([intensities[-1]], [height], marks[name], color=f"C{i}", markersize=6, label=label)
        axes.annotate(name, (intensities[-1], 1.1 * peak), ha="center", fontsize=9)
    ends = [0.5, 4 * max(intensities)]
    ridge = peak / rates["bandwidth"]
    axes.loglog([ends[0], ridge, ends[1]], [rates["bandwidth"] * ends[0], peak, peak], "k-", linewidth=1)
    axes.set(
        xlabel="operations a byte of points and values, N = 10,000",
        ylabel="GFLOP/s, tanh included",
        ylim=(1, 2 * peak),
    )
    axes.grid(linewidth=0.4)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--table-only", action="store_true", help="from the result that is there")
    options = parser.parse_args()
    if not options.table_only:
        with tempfile.TemporaryDirectory() as folder:
            paths = options.models or fresh(folder)
            found = bench(paths[:2])
            found["one_point_in_c_ns"] = {path.stem: one_point_in_c(path) for path in paths}
            found["alone"] = bench(paths[2:], methods=ALONE) if paths[2:] else None
        RESULT.write_text(json.dumps(found) + "\n")
    found = json.loads(RESULT.read_text())
    print(_tables.of_bench(found))
    for name, ns in found["one_point_in_c_ns"].items():
        print(f"one point in a loop of C, {name}: {ns:.0f} ns")
    if found["alone"]:
        print(_tables.of_bench(found["alone"]))
    print(table(found))
    if options.write:
        for page in PAGES:
            put(table(found), "latency", page)
        against_size(found, IMAGES / "latency.png")
        roofline(found, IMAGES / "roofline.png")
