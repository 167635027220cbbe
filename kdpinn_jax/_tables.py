"""What the command line tells people: a few lines for what ``--json`` tells machines in full."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._metrics import Metrics
    from ._model import Model


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


def of_errors(model: "Model", found: Mapping[str, "Metrics"]) -> str:
    """A line an error, beyond the domain too, and a line a residual; ``found`` has the model's under an empty name."""
    lines = [f"{model.problem.name} {model.layers}, {model.parameters} parameters"]
    regions = {f"{name} predictor" if name else "domain": other.errors for name, other in found.items()}
    for region, errors in {**regions, **found[""].extrapolation}.items():
        for name, e in errors.items():
            lines.append(
                f"{region:18} {name:9} relative L2 {e.relative_l2:.2e}  RMSE {e.rmse:.2e}  max {e.max_error:.2e}"
            )
    for name, size in found[""].residuals.items():
        lines.append(f"{'residual':18} {name:15} RMS {size:.2e}")
    return "\n".join(lines)
