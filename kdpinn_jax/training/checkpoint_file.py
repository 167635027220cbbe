"""The file of a checkpoint: safetensors with a checksum over its whole content, written atomically."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from ..base.names import one_line
from ..base.storage import atomic, library_versions, read_safetensors
from ..models.report import StageReport

#: Incremented whenever the structure of the content changes.
FORMAT_VERSION = 1
LATEST, PREVIOUS = "latest.safetensors", "previous.safetensors"
_KEY = "kdpinn_jax_checkpoint"
#: The fields of a report that are numbers, by their names in the file.
_NUMBERS = {
    "steps": "steps",
    "ending": "status",
    "record_steps": "record_steps",
    "fresh_loss": "fresh_loss",
    "seconds_compiling": "seconds_compiling",
    "seconds": "seconds",
    "record_seconds": "record_seconds",
}

#: The exceptions that a header with another structure can cause.
_DAMAGE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)

#: One row per record of a training.
Rows = list[dict[str, np.ndarray]]


class FinishedStage(NamedTuple):
    """A completed stage.

    Attributes:
        report: its report.
        elapsed: the training's clock at its end, in seconds.
    """

    report: StageReport
    elapsed: float


class RunningStage(NamedTuple):
    """A running stage.

    Attributes:
        leaves: the leaves of its state.
        rows: its records.
        began: the training's clock at its start, in seconds.
        compiling: the seconds spent compiling it.
    """

    leaves: list[np.ndarray]
    rows: Rows
    began: float
    compiling: float


class Content(NamedTuple):
    """The content of a checkpoint.

    Attributes:
        finished: the completed stages.
        params: the leaves of the parameters after them.
        running: the running stage, if any.
        elapsed: the training's clock, in seconds.
    """

    finished: tuple[FinishedStage, ...] = ()
    params: tuple[np.ndarray, ...] = ()
    running: RunningStage | None = None
    elapsed: float = 0.0


class Unusable(Exception):
    """Why a file cannot be used; the message follows the file's name."""


def write(folder: Path, content: Content, identity: Mapping[str, Any]) -> None:
    """Write the latest checkpoint of a folder and keep the one before it as the previous checkpoint.

    Raises:
        OSError: it cannot be written; the existing checkpoints are unchanged.
        SafetensorError: likewise.
    """
    with atomic(folder / LATEST) as temporary:
        tensors = _tensors(content)
        text = json.dumps(_header(content, identity), sort_keys=True)
        save_file(tensors, temporary, {_KEY: text, "sha256": _checksum(text, tensors)})
        # Until the new file is renamed there is no latest checkpoint, and the previous one is read.
        if (folder / LATEST).exists():
            (folder / LATEST).replace(folder / PREVIOUS)


def read(path: Path) -> tuple[Content, dict[str, Any]]:
    """Content and identity of a file written by ``write``.

    Raises:
        Unusable: it is damaged, or other library versions wrote it.
    """
    if not os.path.isfile(path):  # reading a pipe would wait for a writer
        raise Unusable("is not a file")
    metadata: dict[str, str] = {}
    try:
        tensors = read_safetensors(path, metadata.update)
        if metadata["sha256"] != _checksum(metadata[_KEY], tensors):
            raise Unusable("is damaged (its checksum does not match)")
        header = json.loads(metadata[_KEY])
        if header["format_version"] != FORMAT_VERSION or header["versions"] != library_versions():
            ours = library_versions() | {"format": FORMAT_VERSION}
            theirs = header["versions"] | {"format": header["format_version"]}
            differing = ", ".join(f"{name} {theirs[name]}" for name in theirs if theirs[name] != ours.get(name))
            raise Unusable(f"was written by {one_line(differing)}; only the same versions can resume it")
        return _content(header, tensors), dict(header["identity"])
    except (SafetensorError, OSError, MemoryError, ArithmeticError, *_DAMAGE) as error:
        raise Unusable(f"is not a readable checkpoint ({type(error).__name__}: {one_line(error)})") from None


def _header(content: Content, identity: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "versions": library_versions(),
        "identity": dict(identity),
        "finished": [
            {"stage": stage.report.stage, "planned": stage.report.planned, "elapsed": stage.elapsed}
            for stage in content.finished
        ],
        "running": {"began": content.running.began, "compiling": content.running.compiling}
        if content.running
        else None,
        "elapsed": content.elapsed,
    }


def _tensors(content: Content) -> dict[str, np.ndarray]:
    tensors = {f"params.{i:04d}": leaf for i, leaf in enumerate(content.params)}
    for i, (report, _) in enumerate(content.finished):
        tensors |= {f"finished.{i:04d}.{name}": getattr(report, field) for name, field in _NUMBERS.items()}
        tensors |= {f"finished.{i:04d}.history.{name}": values for name, values in report.history.items()}
    if content.running:
        tensors |= {f"running.state.{i:04d}": leaf for i, leaf in enumerate(content.running.leaves)}
        for name in content.running.rows[0] if content.running.rows else ():
            tensors[f"running.rows.{name}"] = np.stack([row[name] for row in content.running.rows])
    # numpy.ascontiguousarray would turn a scalar into an array with one element.
    return {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}


def _content(header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Content:
    """The inverse of ``_header`` and ``_tensors``."""

    def under(prefix: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(prefix): tensors[name] for name in sorted(tensors) if name.startswith(prefix)}

    finished = []
    for i, entry in enumerate(header["finished"]):
        numbers = {field: scalar_or_array(tensors[f"finished.{i:04d}.{name}"]) for name, field in _NUMBERS.items()}
        history = under(f"finished.{i:04d}.history.")
        report = StageReport(stage=str(entry["stage"]), planned=int(entry["planned"]), history=history, **numbers)
        finished.append(FinishedStage(report, float(entry["elapsed"])))
    running = None
    if entry := header["running"]:
        columns = under("running.rows.")
        count = min((len(values) for values in columns.values()), default=0)
        rows = [{name: values[i] for name, values in columns.items()} for i in range(count)]
        leaves = list(under("running.state.").values())
        running = RunningStage(leaves, rows, float(entry["began"]), float(entry["compiling"]))
    return Content(tuple(finished), tuple(under("params.").values()), running, float(header["elapsed"]))


def _checksum(text: str, tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode() + tensor.tobytes())
    return digest.hexdigest()


def scalar_or_array(value: np.ndarray) -> Any:
    """A plain number for one training, an array for a batch."""
    return value.item() if value.ndim == 0 else value
