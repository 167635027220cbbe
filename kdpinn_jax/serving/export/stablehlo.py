"""``export_stablehlo``: a model for any XLA host, through ``jax.export``."""

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
    """Write ``NAME.jax_export``, ``NAME.mlir`` and ``NAME.json``: z (n, d) -> u (n, m) for every n.

    The first is what ``jax.export.deserialize`` reads, on any of the platforms and without this library:

        call = jax.jit(jax.export.deserialize(bytearray(open(path, "rb").read())).call)

    JAX promises to read it for six months; the weights are archived by ``save``. The second is the same program as
    StableHLO bytecode for other hosts, whose first argument is the index of the platform among those given; the third
    tells names, bounds, errors and the weights' hash.

    Args:
        model, name, metrics: as ``export_c``; any model, its program need not be one that C can say.
        directory: where to; made if need be.
        dtype: float32 or float64; of points and values.
        platforms: of JAX's names: ``"cpu"``, ``"cuda"``, ``"rocm"``, ``"tpu"``.

    Returns:
        The three paths.

    Raises:
        ValueError: the name is no identifier of C, another type, float64 where it is not enabled, or an unknown
            platform. OSError: the directory cannot be written. Nothing is left then.
    """
    name = identifier(model, name)
    for platform in platforms:
        if platform not in _KNOWN:
            raise ValueError(f"platform {platform!r} is unknown{nearest(platform, _KNOWN)}")
    points = export.symbolic_args_specs(jax.ShapeDtypeStruct((1, len(model.problem.axes)), dtype), "n, _")
    exported = export.export(jax.jit(many_points(model, dtype)), platforms=tuple(platforms))(points)
    title, _ = describe(model, metrics)
    about = {"title": title, "dtype": np.dtype(dtype).name, "platforms": list(platforms)}
    return write_all(
        directory,
        {
            f"{name}.jax_export": bytes(exported.serialize()),
            f"{name}.mlir": exported.mlir_module_serialized,
            f"{name}.json": (json.dumps(about | metadata(model, metrics), indent=2) + "\n").encode(),
        },
    )
