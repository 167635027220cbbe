"""Export of models as programs for other hosts."""

import os
from pathlib import Path
from typing import Protocol

from ...models.metrics import Metrics
from ...models.model import Model
from .c import export_c
from .onnx import export_onnx
from .stablehlo import export_stablehlo


class Exporter(Protocol):
    """The signature that all exports share; it is documented in ``export_c``."""

    def __call__(
        self,
        model: Model,
        directory: str | os.PathLike[str],
        *,
        name: str | None = None,
        metrics: Metrics | None = None,
    ) -> tuple[Path, ...]: ...


#: The formats of ``kdpinn export``.
FORMATS: dict[str, Exporter] = {"c": export_c, "onnx": export_onnx, "stablehlo": export_stablehlo}
