"""Export of models as programs for other hosts."""

from collections.abc import Callable
from pathlib import Path

from .c import export_c
from .onnx import export_onnx
from .stablehlo import export_stablehlo

#: The formats of ``kdpinn export``. Each function is called as ``(model, directory, name=…, metrics=…)``, which
#: ``export_c`` documents, and may have further options.
FORMATS: dict[str, Callable[..., tuple[Path, ...]]] = {
    "c": export_c,
    "onnx": export_onnx,
    "stablehlo": export_stablehlo,
}
