"""``export_stablehlo``: a model for any host that runs XLA, by ``jax.export``."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jax import export
from jax.typing import DTypeLike

from ...base.names import nearest
from ...models.metrics import Metrics
from ...models.model import Model
from ..predict import many_points
from ._describe import describe, identifier, metadata, write_all

#: The platforms that an export supports by default.
PLATFORMS = ("cpu", "cuda", "tpu")
_KNOWN = (*PLATFORMS, "rocm")


def export_stablehlo(
    model: Model,
    directory: str | os.PathLike[str],
    *,
    name: str | None = None,
    metrics: Metrics | None = None,
    dtype: DTypeLike = np.float32,
    platforms: Sequence[str] = PLATFORMS,
) -> tuple[Path, ...]:
    """Write ``NAME.jax_export``, ``NAME.mlir`` and ``NAME.json``: the model z (n, d) -> u (n, m) for any n.

    ``jax.export.deserialize`` reads the first file on each of the platforms, without this library:

        call = jax.jit(jax.export.deserialize(bytearray(open(path, "rb").read())).call)

    JAX guarantees that for six months; to archive a model, use ``save``. The second file is the same program as
    StableHLO bytecode for other hosts; its first argument is the index of the platform in ``platforms``. The third file
    contains names, bounds, errors and the hash of the weights. If an error is raised, no file is written.

    Args:
        model: any model, including those that ``export_c`` does not support.
        directory: the output folder; created if necessary.
        name: the name of the files; default the problem's name.
        metrics: the errors from ``evaluate``, which ``NAME.json`` states.
        dtype: the type of points and values, float32 or float64.
        platforms: names that JAX uses: ``"cpu"``, ``"cuda"``, ``"rocm"``, ``"tpu"``.

    Returns:
        The three paths.

    Raises:
        ValueError: the name is not a C identifier, dtype is another type or float64 while JAX has it disabled, or a
            platform is unknown.
        OSError: the folder cannot be written.

    Warns:
        RuntimeWarning: as ``compile_predict``.
    """
    name = identifier(model, name)
    for platform in platforms:
        if platform not in _KNOWN:
            raise ValueError(f"platform {platform!r} is unknown{nearest(platform, _KNOWN)}")
    points = export.symbolic_args_specs(jax.ShapeDtypeStruct((1, len(model.problem.axes)), dtype), "n, _")
    function = jax.jit(many_points(model, dtype, stacklevel=3))
    exported = export.export(function, platforms=tuple(platforms))(points)
    title, _ = describe(model, metrics)
    program_properties = {"title": title, "dtype": np.dtype(dtype).name, "platforms": list(platforms)}
    return write_all(
        directory,
        {
            f"{name}.jax_export": bytes(exported.serialize()),
            f"{name}.mlir": exported.mlir_module_serialized,
            f"{name}.json": (json.dumps(program_properties | metadata(model, metrics), indent=2) + "\n").encode(),
        },
    )
