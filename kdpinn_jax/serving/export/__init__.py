"""Models as programs for other hosts."""

from collections.abc import Callable
from pathlib import Path

from .c import export_c
from .onnx import export_onnx
from .stablehlo import export_stablehlo

#: What ``kdpinn export`` offers.
FORMATS: dict[str, Callable[..., tuple[Path, ...]]] = {
    "c": export_c,
    "onnx": export_onnx,
    "stablehlo": export_stablehlo,
}
