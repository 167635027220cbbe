"""What the command line tells people: a few lines for what ``--json`` tells machines in full."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..evaluation.estimates import ErrorEstimate
    from ..models.metrics import Metrics
    from ..models.model import Model


def of_problems(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Three lines a problem."""
    lines = []
    for name, row in rows.items():
        domain = " × ".join(
            f"{axis} ∈ [{a:.6g}, {b:.6g}]" for axis, a, b in zip(row["axes"], row["lower"], row["upper"], strict=True)
        )
        numbers = ", ".join(f"{k}={v:.6g}" for k, v in row["coefficients"].items())
        lines += [
            f"{name}: {', '.join(row['fields'])} on {domain}",
            f"    coefficients {numbers}; conditions {' or '.join(row['conditions'])}",
            f"    terms {', '.join(row['terms'])}",
        ]
    return "\n".join(lines)


def of_run(result: Mapping[str, Any], out: Path) -> str:
    """A line for the teacher and one for the student, and where the files are."""
    lines = [
        f"{'':8} {'parameters':>10} {'relative L2':>12} {'RMSE':>10} {'max error':>10} {'seconds':>8}  "
        "µs at N = 1, 1024, 10000"
    ]
    for role in ("teacher", "student"):
        model = result[role]
        latency = model["latency"] or {}
        microseconds = ", ".join(f"{case['median']:.4g}" for case in latency.values()) or "not measured"
        seconds = model["seconds_compiling"] + model["seconds_training"]
        lines.append(
            f"{role:8} {model['parameters']:10d} {model['relative_l2']:12.2e} {model['rmse']:10.2e} "
            f"{model['max_error']:10.2e} {seconds:8.1f}  {microseconds}"
        )
    return "\n".join([*lines, f"in {out}"])


def of_sweep(rows: Sequence[Mapping[str, Any]], varied: Sequence[str], out: Path) -> str:
    """A line a member, the best first, with what was varied, its error and how it ended; where the files are."""
    by = "relative_l2" if "relative_l2" in rows[0] else "fresh_loss"
    names = ["member", *varied, "parameters", by, "ended"]
    cells = [
        [_cell(row[name]) for name in names] for row in sorted(rows, key=lambda row: (row[by] != row[by], row[by]))
    ]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in [names, *cells]]
    return "\n".join([*(line.rstrip() for line in lines), f"in {out}"])


def of_search(content: Mapping[str, Any], out: Path) -> str:
    """A line a member of the front and the teacher's; which one is chosen and whether it meets the budget."""
    lines = [f"{'':18} {'parameters':>10} {'relative L2':>12} {'µs':>9} {'ns/point':>9} {'cheaper':>8}"]
    for row in content["candidates"]:
        if row["role"] != "candidate":
            lines.append(
                f"{row['name']:18} {row['parameters'] or '':>10} {row['relative_l2']:12.2e} {row['microseconds']:9.2f} "
                f"{row['ns_per_point']:9.1f} {row['times_cheaper']:7.1f}x"
            )
    miss = content["miss"]
    meets = "meets the budget" if miss <= 1 else f"misses the budget by a factor of {miss:.3g}"
    meets = meets if miss else "is the most accurate"  # no budget was given
    what = f"{content['engine']}, {content['points']} points a call"
    return "\n".join([*lines, f"{content['chosen']} {meets} ({what})", f"in {out}"])


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def of_errors(model: "Model", found: Mapping[str, "Metrics"]) -> str:
    """A line an error, beyond the domain too, and a line a residual; ``found`` has the model's under an empty name."""
    lines = [f"{model.problem.name} {model.layers}, {model.parameters} parameters"]
    regions = {f"{name} predictor" if name else "domain": other.errors for name, other in found.items()}
    for region, errors in {**regions, **found[""].extrapolation}.items():
        for name, e in errors.items():
            lines.append(
                f"{region:18} {name:9} relative L2 {e.relative_l2:.2e}  RMSE {e.rmse:.2e}  max {e.max_error:.2e}"
            )
    members, corners = found[""].members, found[""].corners
    for title, member in [("worst member", m) for m in members[:1]] + [("worst corner", m) for m in corners[:1]]:
        where, e = ", ".join(f"{name}={value:.4g}" for name, value in member.coefficients.items()), member.errors
        lines.append(f"{title:18} {where:9} relative L2 {e.relative_l2:.2e}  RMSE {e.rmse:.2e}  max {e.max_error:.2e}")
    for name, size in found[""].residuals.items():
        lines.append(f"{'residual':18} {name:15} RMS {size:.2e}")
    return "\n".join(lines)


def of_estimate(found: "ErrorEstimate") -> str:
    """The number with its norm, a line a part, a line an assumption."""
    lines = [f"{found.kind:18} {found.value:.2e}, relative {found.relative:.2e}: {found.norm.name}"]
    lines += [f"{'':18} {name} {part:.2e}" for name, part in found.parts.items()]
    return "\n".join([*lines, *(f"{'assumed':18} {sentence}" for sentence in found.assumptions)])


def of_bench(found: Mapping[str, Any]) -> str:
    """The machine, the models, a line a size, method and model; ratios of the first two models within each method."""
    machine, rates, lines = found["machine"], found["rates"], []
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    lines.append(f"{machine['cpu']}, cores {machine['cores']}, load {machine['load']:.1f}; {versions}")
    if rates:
        lines.append(
            f"this core: multiply-add {rates['multiply_add']:.4f} ns, tanh {rates['tanh']:.3f} ns, "
            f"memory {rates['bandwidth']:.1f} GB/s; float32"
        )
    for name, model in found["models"].items():
        layers = " → ".join(map(str, model["layers"]))
        limit = f", limit {model['limit_ns']:.1f} ns a point" if model["limit_ns"] else ""
        lines.append(f"{name}: {model['problem']} {layers}, {model['parameters']} parameters{limit}")
    width = max(map(len, found["models"]))
    lines.append(
        f"{'N':>6} {'method':16} {'model':{width}} {'min µs':>9} {'median':>9} {'p95':>9} {'p99':>9} {'ns/point':>9} "
        f"{'of limit':>8} {'error':>8}"
    )
    for n, methods in found["sizes"].items():
        for method, models in methods.items():
            for name, t in models.items():
                share = f"{t['share_of_limit']:.0%}" if t["share_of_limit"] else ""
                lines.append(
                    f"{n:>6} {method:16} {name:{width}} {t['minimum']:9.2f} {t['median']:9.2f} {t['p95']:9.2f} "
                    f"{t['p99']:9.2f} {t['ns_per_point']:9.1f} {share:>8} {t['error']:8.1e}"
                )
    lines += [f"not measured: {method}: {why}" for method, why in found["missing"].items()]
    return "\n".join([*lines, *_ratios(found)])


def _ratios(found: Mapping[str, Any]) -> list[str]:
    """Medians over medians: between models within one method, and from eager to XLA for each model."""
    lines, names = [], list(found["models"])[:2]
    if len(names) == 2:
        lines.append(f"{names[0]} / {names[1]}, median by median within each method:")
        for method in {method: None for methods in found["sizes"].values() for method in methods}:
            cells = [
                f"N = {n}: {models[names[0]]['median'] / models[names[1]]['median']:.2f}"
                for n, methods in found["sizes"].items()
                if (models := methods.get(method))
            ]
            lines.append(f"  {method:16} {', '.join(cells)}")
    for eager in ("jax.disable_jit", "op by op"):
        for name in found["models"]:
            cells = [
                f"N = {n}: {methods[eager][name]['median'] / methods['compile_predict'][name]['median']:.0f}"
                for n, methods in found["sizes"].items()
                if eager in methods and "compile_predict" in methods
            ]
            if cells:
                lines.append(f"{eager} / compile_predict, {name}: {', '.join(cells)}")
    return lines
