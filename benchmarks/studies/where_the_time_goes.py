"""Where the time goes: the cost of width, depth and activation in every engine, and how much of 50–100× is reached.

    python benchmarks/studies/where_the_time_goes.py [--quick]

The networks have random parameters, on which latency does not depend, and solve Burgers with soft conditions, so that
only the network itself is timed. They are timed in float32 on one core by ``kd.bench``, all engines and networks in
turn. Each seed has other parameters and another process. Nothing else should run on the machine at the same time.
"""

import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from _study import Cases, Result, Results, Study, main, markdown, number, spread
from matplotlib.figure import Figure

import kdpinn_jax as kd

TEACHER, STUDENT = kd.MLP((50, 50, 50)), kd.MLP((20, 20, 20))
NETWORKS = {
    "teacher": TEACHER,
    "student": STUDENT,
    "width 5": kd.MLP((5, 5, 5)),
    "width 10": kd.MLP((10, 10, 10)),
    "width 100": kd.MLP((100, 100, 100)),
    "depth 1": kd.MLP((20,)),
    "depth 2": kd.MLP((20, 20)),
    "depth 6": kd.MLP((20,) * 6),
    "silu": kd.MLP((20, 20, 20), "silu"),
    "sine": kd.MLP((20, 20, 20), "sine"),
}
ENGINES = ("jax.disable_jit", "op by op", "jax.jit", "compile_predict", "C")
SIZES = (1, 10_000)


def run_case(seed: int, quick: bool) -> Result:
    """Median µs per call by size, engine and network, and each network's limit."""
    problem = kd.with_conditions(kd.problems.ALL["burgers"], "soft")
    names = ("teacher", "student") if quick else tuple(NETWORKS)
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for i, name in enumerate(names):
            target = kd.objective(problem, NETWORKS[name])
            params = kd.init_params(problem, target.network, jax.random.fold_in(jax.random.key(seed), i))
            paths.append(Path(folder) / f"{name}.safetensors")
            kd.save(kd.Model(problem, target.network, params, dict(problem.coefficients)), paths[-1])
        result = kd.bench(paths, sizes=SIZES[:1] if quick else SIZES, methods=ENGINES)
    return {
        "seed": seed,
        "microseconds": {
            size: {engine: {name: t["median"] for name, t in times.items()} for engine, times in engines.items()}
            for size, engines in result["sizes"].items()
        },
        "limit": {name: model["limit_ns"] for name, model in result["models"].items()},
        "parameters": {name: model["parameters"] for name, model in result["models"].items()},
        "rates": result["rates"],
    }


def tables(results: Results) -> dict[str, str]:
    runs = list(results.values())
    by_marker = {}
    for size in runs[0]["microseconds"]:
        engines = [engine for engine in ENGINES if engine in runs[0]["microseconds"][size]]

        def times(engine: str, name: str, size: str = size) -> np.ndarray:
            return np.asarray([run["microseconds"][size][engine][name] for run in runs])

        rows = []
        for name, parameters in runs[0]["parameters"].items():
            row = [name, str(parameters)]
            for engine in engines:
                ratio = np.median(times(engine, "teacher") / times(engine, name))
                row.append(f"{number(np.median(times(engine, name)))} ({ratio:.2g}×)")
            limits = [run["limit"][name] for run in runs]
            if None not in limits:
                limit = float(np.median(limits)) * int(size) / 1000
                teacher_limit = float(np.median([run["limit"]["teacher"] for run in runs])) * int(size) / 1000
                row.append(f"{number(limit)} ({teacher_limit / limit:.2g}×)")
            else:
                row.append("–")
            rows.append(row)
        by_marker[f"N = {size}: networks"] = markdown(["network", "parameters", *engines, "limit of the core"], rows)
        eager_teacher = times(engines[0], "teacher")
        rows = [
            [
                f"{name}, {engine}",
                spread(list(times(engine, name)), ".3g"),
                spread(list(eager_teacher / times(engine, name)), ".3g"),
                spread(list(times("op by op", "teacher") / times(engine, name)), ".3g"),
                spread(list(times("jax.jit", "teacher") / times(engine, name)), ".3g"),
            ]
            for name in ("teacher", "student")
            for engine in engines
        ]
        baselines = ("by jax.disable_jit", "op by op", "by jax.jit")
        speed_ups = [f"speed-up over the teacher {engine}" for engine in baselines]
        by_marker[f"N = {size}: overall"] = markdown(["network, engine", "µs per call", *speed_ups], rows)
    return by_marker


def picture(results: Results) -> Figure:
    runs = list(results.values())
    sizes = list(runs[0]["microseconds"])
    figure = Figure(figsize=(5.4 * len(sizes), 4.0), layout="constrained")
    panels = figure.subplots(1, len(sizes), squeeze=False)[0]
    for panel, size in zip(panels, sizes, strict=True):
        for i, engine in enumerate(ENGINES):
            for family, marker in (("width", "o"), ("depth", "s")):
                names = [n for n in NETWORKS if n.startswith(family)] + ["student"] + ["teacher"] * (family == "width")
                names = sorted((n for n in names if n in runs[0]["parameters"]), key=runs[0]["parameters"].get)
                x = [runs[0]["parameters"][name] for name in names]
                y = [np.median([run["microseconds"][size][engine][name] for run in runs]) for name in names]
                label = engine if family == "width" else None
                style = {"color": f"C{i}", "linestyle": "-" if family == "width" else ":"}
                panel.plot(x, y, marker, label=label, markersize=4, **style)
        panel.set(xscale="log", yscale="log", xlabel="parameters", ylabel="µs per call", title=f"N = {size}")
    panels[0].legend(fontsize=7, title="width —, depth ···", title_fontsize=7)
    return figure


def cases(seeds: Sequence[int], quick: bool) -> Cases:
    return {str(seed): functools.partial(run_case, seed, quick) for seed in seeds}


STUDY = Study("where_the_time_goes", cases, tables, picture)

if __name__ == "__main__":
    main(STUDY, __doc__)
