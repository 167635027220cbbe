"""Text tables of results: a few lines for the reader, where ``--json`` prints everything."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..evaluation.estimates import ErrorEstimate
    from ..models.metrics import Metrics
    from ..models.model import Model


def of_problems(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Three lines per problem."""
    lines = []
    for name, row in rows.items():
        domain = " × ".join(
            f"{axis} ∈ [{a:.6g}, {b:.6g}]" for axis, a, b in zip(row["axes"], row["lower"], row["upper"], strict=True)
        )
        coefficients = ", ".join(f"{symbol}={value:.6g}" for symbol, value in row["coefficients"].items())
        lines += [
            f"{name}: {', '.join(row['fields'])} on {domain}",
            f"    coefficients {coefficients}; conditions {' or '.join(row['conditions'])}",
            f"    terms {', '.join(row['terms'])}",
        ]
    return "\n".join(lines)


def of_run(result: Mapping[str, Any], out: Path) -> str:
    """One line for the teacher, one for the student, and the folder of the files."""
    lines = [
        f"{'':8} {'parameters':>10} {'relative L2':>12} {'in float32':>10} {'RMSE':>10} {'max error':>10} "
        f"{'seconds':>8}  µs per call at N = 1, 1024, 10000"
    ]
    for role in ("teacher", "student"):
        model = result[role]
        latency = model["latency"] or {}
        microseconds = ", ".join(f"{times['median']:.4g}" for times in latency.values()) or "not measured"
        seconds = model["seconds_compiling"] + model["seconds_training"]
        errors = (
            f"{model['relative_l2']:12.2e} {model['float32'][model['quantity']]['relative_l2']:10.2e} "
            f"{model['rmse']:10.2e} {model['max_error']:10.2e}"
            if model["fields"]
            else f"{'no reference':12} {'':10} {'':10} {'':10}"
        )
        lines.append(f"{role:8} {model['parameters']:10d} {errors} {seconds:8.1f}  {microseconds}")
    return "\n".join([*lines, f"files in {out}"])


def of_sweep(rows: Sequence[Mapping[str, Any]], varied: Sequence[str], out: Path) -> str:
    """One line per member, best first, with its varied values, error and status; and the folder of the files."""
    order = "relative_l2" if "relative_l2" in rows[0] else "fresh_loss"
    names = ["member", *varied, "parameters", order, "ended"]
    # A member with a NaN comes last.
    ranked = sorted(rows, key=lambda row: (row[order] != row[order], row[order]))
    cells = [[_cell(row[name]) for name in names] for row in ranked]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in [names, *cells]]
    note = [] if order == "relative_l2" else ["no reference: the members are ordered by their loss at fresh points"]
    return "\n".join([*(line.rstrip() for line in lines), *note, f"files in {out}"])


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def of_search(content: Mapping[str, Any], out: Path) -> str:
    """One line per member of the front and one for the teacher; the chosen student, and whether it meets the budget."""
    lines = [f"{'':18} {'parameters':>10} {'relative L2':>12} {'µs':>9} {'ns/point':>9} {'cheaper':>8}"]
    for row in content["candidates"]:
        if row["role"] != "candidate":
            lines.append(
                f"{row['name']:18} {row['parameters'] or '':>10} {row['relative_l2']:12.2e} {row['microseconds']:9.2f} "
                f"{row['ns_per_point']:9.1f} {row['times_cheaper']:7.1f}x"
            )
    miss = content["miss"]
    if not miss:  # no budget was given
        verdict = "is the most accurate"
    else:
        verdict = "meets the budget" if miss <= 1 else f"misses the budget by a factor of {miss:.3g}"
    setting = f"{content['engine']}, {content['points']} points per call"
    return "\n".join([*lines, f"{content['chosen']} {verdict} ({setting})", f"files in {out}"])


def of_errors(model: "Model", metrics: Mapping[str, "Metrics"]) -> str:
    """One line per error, inside and outside the domain, and one per residual.

    Args:
        model: the model.
        metrics: the model's own metrics under an empty name, and those of its predictors under theirs.
    """
    own = metrics[""]
    lines = [f"{model.problem.name} {model.layers}, {model.parameters} parameters"]
    regions = {f"{name} predictor" if name else "domain": other.errors for name, other in metrics.items()}
    for region, errors in {**regions, **own.extrapolation}.items():
        for name, e in errors.items():
            lines.append(
                f"{region:18} {name:9} relative L2 {e.relative_l2:.2e}  RMSE {e.rmse:.2e}  max {e.max_error:.2e}"
            )
    if own.extrapolation:
        lines.append(f"{'':18} mild, hard right: up to 10 %, 50 % of its width beyond the end of the last space axis")
    worst = {"worst member": own.members[:1], "worst corner": own.corners[:1]}
    for title, members in worst.items():
        for member in members:
            e = member.errors
            coefficients = ", ".join(f"{name}={value:.4g}" for name, value in member.coefficients.items())
            lines.append(
                f"{title:18} {coefficients:9} relative L2 {e.relative_l2:.2e}  RMSE {e.rmse:.2e}  max {e.max_error:.2e}"
            )
    if not own.errors:
        lines.append(f"{'no reference':18} the errors are unknown; kdpinn evaluate --estimate estimates them")
    if own.excluded:
        lines.append(f"{'left out':18} {own.excluded} points at which the reference is not finite")
    for name, size in own.residuals.items():
        lines.append(f"{'residual':18} {name:15} RMS {size:.2e}")
    return "\n".join(lines)


def of_estimate(estimate: "ErrorEstimate") -> str:
    """The estimate with its norm, one line per part, and one per assumption or, without a number, per reason."""
    value = "no number" if estimate.kind == "unknown" else f"{estimate.value:.2e}, relative {estimate.relative:.2e}"
    lines = [f"{estimate.kind:18} {value}: {estimate.norm.name}"]
    lines += [f"{'':18} {name} {part:.2e}" for name, part in estimate.parts.items()]
    label = "reason" if estimate.kind == "unknown" else "assumed"
    return "\n".join([*lines, *(f"{label:18} {assumption}" for assumption in estimate.assumptions)])


def of_bench(result: Mapping[str, Any]) -> str:
    """The machine, the models, one line per size, method and model, and ratios of the medians."""
    machine, rates, lines = result["machine"], result["rates"], []
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    load = "" if machine["load"] is None else f", load {machine['load']:.1f}"
    lines.append(f"{machine['cpu']}, cores {machine['cores']}{load}; {versions}")
    if rates:
        lines.append(
            f"this core: multiply-add {rates['multiply_add']:.4f} ns, tanh {rates['tanh']:.3f} ns, "
            f"memory {rates['bandwidth']:.1f} GB/s; float32"
        )
    for name, model in result["models"].items():
        layers = " → ".join(map(str, model["layers"]))
        limit = f", limit {model['limit_ns']:.1f} ns per point" if model["limit_ns"] else ""
        lines.append(f"{name}: {model['problem']} {layers}, {model['parameters']} parameters{limit}")
    width = max(map(len, result["models"]))
    lines.append(
        f"{'N':>6} {'method':16} {'model':{width}} {'min µs':>9} {'median':>9} {'p95':>9} {'p99':>9} {'ns/point':>9} "
        f"{'of limit':>8} {'error':>8}"
    )
    for n, methods in result["sizes"].items():
        for method, models in methods.items():
            for name, times in models.items():
                share = f"{times['share_of_limit']:.0%}" if times["share_of_limit"] else ""
                lines.append(
                    f"{n:>6} {method:16} {name:{width}} {times['minimum']:9.2f} {times['median']:9.2f} "
                    f"{times['p95']:9.2f} {times['p99']:9.2f} {times['ns_per_point']:9.1f} {share:>8} "
                    f"{times['error']:8.1e}"
                )
    lines += [f"not measured: {method}: {reason}" for method, reason in result["missing"].items()]
    return "\n".join([*lines, *_ratios(result)])


def _ratios(result: Mapping[str, Any]) -> list[str]:
    """Ratios of medians: between the first two models for each method, and of eager execution to XLA for each model."""
    lines, names = [], list(result["models"])[:2]
    if len(names) == 2:
        lines.append(f"{names[0]} / {names[1]}, ratio of medians for each method:")
        for method in {method: None for methods in result["sizes"].values() for method in methods}:
            cells = [
                f"N = {n}: {models[names[0]]['median'] / models[names[1]]['median']:.2f}"
                for n, methods in result["sizes"].items()
                if (models := methods.get(method))
            ]
            lines.append(f"  {method:16} {', '.join(cells)}")
    for eager in ("jax.disable_jit", "op by op"):
        for name in result["models"]:
            cells = [
                f"N = {n}: {methods[eager][name]['median'] / methods['compile_predict'][name]['median']:.0f}"
                for n, methods in result["sizes"].items()
                if eager in methods and "compile_predict" in methods
            ]
            if cells:
                lines.append(f"{eager} / compile_predict, {name}: {', '.join(cells)}")
    return lines
