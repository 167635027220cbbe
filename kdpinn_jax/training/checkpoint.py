"""Checkpoints: what a training needs to go on, bit for bit, after its process died.

A training that goes on is replayed: stages that had ended are read back, the one that ran goes on from its last record.
"""

import contextlib
import dataclasses
import hashlib
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from safetensors import SafetensorError

from ..base.lock import only_writer
from ..base.types import Params, is_key
from ..models.report import StageReport
from .checkpoint_file import LATEST, PREVIOUS, Content, Finished, Running, Unusable, read, write
from .objective import Objective

_Tree = TypeVar("_Tree")


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the folder, what is wrong and what to do."""


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A folder where a training keeps what it needs to go on after its process died.

    A training with a checkpoint goes on from what the folder holds, and ends with bit for bit the parameters of the
    training that was never stopped: on the same machine, with the same libraries, where stages end by their steps and
    not by a time budget. A training that had ended is read back at once.

    Attributes:
        folder: made if need be; one a training.
        every: seconds between two checkpoints. The one before is kept, in case the latest is damaged.
        resume: whether to go on from what is there, or to begin anew and write over it.
        warn: is called with a line where one cannot be written (a full disk) or used; the training goes on.
    """

    folder: str | os.PathLike[str]
    every: float = 30.0
    resume: bool = True
    warn: Callable[[str], None] = _warn

    def __post_init__(self) -> None:
        if not self.every > 0:
            raise ValueError(f"Checkpoint: every={self.every} must be positive, in seconds")

    def remove(self) -> None:
        """Delete the folder, once the training's result is saved elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Journal:
    """What a training notes as it goes and reads back when it goes on: its stages in order, and its clock. Without a
    checkpoint it is a clock and no more."""

    def __init__(self, checkpoint: Checkpoint | None, identity: Mapping[str, Any], content: Content) -> None:
        self._checkpoint, self._identity = checkpoint, identity
        self._to_replay, self._content = list(content.finished), content
        self._began = self._written = time.perf_counter()

    def elapsed(self) -> float:
        """Seconds of this training over all its lives; replaying takes none of them."""
        return time.perf_counter() - self._began

    def _set_clock(self, elapsed: float) -> None:
        self._began = time.perf_counter() - elapsed

    def replayed(self, params: Params) -> tuple[Params, StageReport] | None:
        """What came of the next stage, if it had ended; parameters in the form of ``params``. Only those after the last
        such stage are kept: before it ``params`` come back."""
        if not self._to_replay:
            return None
        done = self._to_replay.pop(0)
        self._set_clock(done.elapsed)
        return (params if self._to_replay else _restored(params, self._content.params)), done.report

    def running(self, state: _Tree) -> tuple[_Tree, Running] | None:
        """State, in the form of ``state``, and records of the next stage, if it ran; the clock is what it was there:
        compiling once more is not charged to the training."""
        running = self._content.running
        if self._to_replay or running is None:
            return None
        self._set_clock(self._content.elapsed)
        return _restored(state, running.leaves), running

    @property
    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return self._checkpoint is not None and time.perf_counter() - self._written > self._checkpoint.every

    def note(self, state: Any, run: Running) -> None:
        """Keep the stage that runs, as its state and records have it."""
        if self._checkpoint is not None:
            self._keep(self._content._replace(running=run._replace(leaves=_leaves(state))))

    def ended(self, params: Params, report: StageReport) -> None:
        """Keep what came of a stage."""
        if self._checkpoint is not None:
            finished = (*self._content.finished, Finished(report, self.elapsed()))
            self._keep(Content(finished, tuple(_leaves(params))))

    def _keep(self, content: Content) -> None:
        assert self._checkpoint is not None
        self._content = content._replace(elapsed=self.elapsed())
        self._written = time.perf_counter()
        if jax.process_index() != 0:
            return
        try:
            write(Path(self._checkpoint.folder), self._content, self._identity)
        except (OSError, SafetensorError) as error:
            why = getattr(error, "strerror", None) or error
            where = self._checkpoint.folder
            self._checkpoint.warn(f"warning: no checkpoint could be written into {where}: {why}; the training goes on")


@contextlib.contextmanager
def opened(checkpoint: Checkpoint | None, identified: Callable[[], Mapping[str, Any]]) -> Iterator[Journal]:
    """The journal of a training: with a checkpoint, as its only writer, and from where the training had come.

    Raises:
        CheckpointError: what is in the folder is of another training, or damaged, or by other versions.
        RuntimeError: another process writes into the folder.
        OSError: the folder cannot be written into.
    """
    if checkpoint is None:
        yield Journal(None, {}, Content())
        return
    identity = identified()
    with only_writer(checkpoint.folder) if jax.process_index() == 0 else contextlib.nullcontext():
        content = _found(checkpoint, identity) if checkpoint.resume else Content()
        yield Journal(checkpoint, identity, content)


def _found(checkpoint: Checkpoint, identity: Mapping[str, Any]) -> Content:
    """The latest usable content of the folder; nothing where there is no file."""
    folder, reasons = Path(checkpoint.folder), []
    for path in (folder / LATEST, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            content, of = read(path)
        except Unusable as why:
            reasons.append(f"{path.name} {why}")
            continue
        if differing := [part for part in identity if of.get(part) != identity[part]]:
            raise CheckpointError(
                f"{folder} is the checkpoint of a training that differs in {' and '.join(differing)}; repeat the call "
                "that was stopped, or delete the folder to begin anew"
            )
        if reasons:
            checkpoint.warn(f"warning: {folder}: {reasons[0]}; going on from the one before it")
        return content
    if reasons:
        raise CheckpointError(f"{folder}: {'; '.join(reasons)}; delete the folder to begin anew")
    return Content()


def identity(parts: Sequence[tuple[Objective, Sequence[Any], Any]], key: Array) -> dict[str, Any]:
    """What makes a training, of objectives with their stages, this one: words for what may differ, and a digest of all
    numbers in it."""
    one = parts[-1][0]
    return {
        "problem": one.problem.name,
        "conditions": one.problem.conditions,
        "domain": f"{one.problem.lower} {one.problem.upper}",
        "network": f"{one.network.hidden} {one.network.activation}",
        "terms": " then ".join(str({name: term.count for name, term in sorted(of.terms.items())}) for of, *_ in parts),
        "stages": " then ".join(", ".join(map(_described, stages)) for _, stages, _ in parts),
        "seed, weights, coefficients, learning rates or data": digest((tuple(tuple(part[:2]) for part in parts), key)),
    }


def _described(stage: Any) -> str:
    """A stage's name and what is static in it; functions have no name that lasts."""
    static = {"steps": stage.steps} | vars(stage)
    words = [f"{name}={value}" for name, value in static.items() if not callable(value) and not _is_number(value)]
    return f"{type(stage).__name__}({', '.join(words)})"


def _is_number(value: Any) -> bool:
    return isinstance(value, float | Array | np.ndarray)


def digest(tree: Any) -> str:
    """Of every number in a tree."""
    total = hashlib.sha256()
    for leaf in _leaves(tree):
        total.update(f"{leaf.dtype} {leaf.shape}".encode() + leaf.tobytes())
    return total.hexdigest()


def _leaves(tree: Any) -> list[np.ndarray]:
    def plain(leaf: Any) -> np.ndarray:
        return np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)

    return [plain(leaf) for leaf in jax.tree.leaves(tree)]


def _restored(template: _Tree, leaves: Sequence[np.ndarray]) -> _Tree:
    """The leaves in the form of ``template``."""

    def one(like: Any, leaf: np.ndarray) -> Array:
        if is_key(like):
            return jax.random.wrap_key_data(jnp.asarray(leaf), impl=jax.random.key_impl(like))
        if (leaf.shape, leaf.dtype) != (like.shape, like.dtype):
            raise CheckpointError(
                f"checkpoint: it holds {leaf.dtype}{leaf.shape} where this training has {like.dtype}{like.shape}; "
                "repeat the call that was stopped, or delete the checkpoint to begin anew"
            )
        return jnp.asarray(leaf)

    likes, tree = jax.tree.flatten(template)
    return jax.tree.unflatten(tree, [one(like, leaf) for like, leaf in zip(likes, leaves, strict=True)])
