"""Checkpoints: the state from which a training resumes, bit for bit, after its process died.

A resumed training is replayed: completed stages are read back, and the interrupted one continues from its last record.
"""

import contextlib
import dataclasses
import hashlib
import itertools
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
from ..pde.fingerprint import NoFingerprint, fingerprint, term_fingerprint
from .checkpoint_file import LATEST, PREVIOUS, Content, FinishedStage, RunningStage, Unusable, read, write
from .objective import Objective
from .phase import Phase
from .stages import Stage

_Tree = TypeVar("_Tree")


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the folder, the reason, and the remedy."""


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A folder from which a training resumes after its process died.

    The resumed training ends with exactly the parameters of an uninterrupted one, on the same machine and with the same
    libraries, provided that its stages end by their steps and not by a time budget. A completed training is read back
    at once.

    Attributes:
        folder: one per training; created if necessary.
        every: seconds between checkpoints. The previous one is kept in case the latest is damaged.
        resume: whether to resume from an existing checkpoint or to overwrite it.
        warn: called with one line if a checkpoint cannot be written (a full disk) or read; the training continues.

    Raises:
        ValueError: every is not positive.
    """

    folder: str | os.PathLike[str]
    every: float = 30.0
    resume: bool = True
    warn: Callable[[str], None] = _warn

    def __post_init__(self) -> None:
        if not self.every > 0:
            raise ValueError(f"Checkpoint: every={self.every} must be a positive number of seconds")

    def remove(self) -> None:
        """Delete the folder, once the training's result is saved elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Journal:
    """The stages of a training in order, and its clock: written while it runs, replayed when it resumes.

    Without a checkpoint it is only a clock.
    """

    def __init__(self, checkpoint: Checkpoint | None, identity: Mapping[str, Any], content: Content) -> None:
        self._checkpoint, self._identity = checkpoint, identity
        self._to_replay, self._content = list(content.finished), content
        self._began = self._written = time.perf_counter()

    def elapsed(self) -> float:
        """Seconds of this training, summed over all processes that ran it; replaying does not count."""
        return time.perf_counter() - self._began

    def _set_clock(self, elapsed: float) -> None:
        self._began = time.perf_counter() - elapsed

    def replay(self, params: Params) -> tuple[Params, StageReport] | None:
        """Parameters, in the structure of ``params``, and report of the next stage; None if it had not completed.

        Only the parameters after the last completed stage are stored; for earlier ones ``params`` are returned.
        """
        if not self._to_replay:
            return None
        stage = self._to_replay.pop(0)
        self._set_clock(stage.elapsed)
        return (params if self._to_replay else _restored(params, self._content.params)), stage.report

    def resume_stage(self, state: _Tree) -> tuple[_Tree, RunningStage] | None:
        """State, in the structure of ``state``, and records of the next stage; None if it was not running.

        The clock is set back to the checkpoint: compiling again is not charged to the training.
        """
        running = self._content.running
        if self._to_replay or running is None:
            return None
        self._set_clock(self._content.elapsed)
        return _restored(state, running.leaves), running

    @property
    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return self._checkpoint is not None and time.perf_counter() - self._written > self._checkpoint.every

    def record_running(self, state: Any, run: RunningStage) -> None:
        """Store the running stage with its state and records."""
        if self._checkpoint is not None:
            self._write(self._content._replace(running=run._replace(leaves=_leaves(state))))

    def record_stage(self, params: Params, report: StageReport) -> None:
        """Store a completed stage."""
        if self._checkpoint is not None:
            finished = (*self._content.finished, FinishedStage(report, self.elapsed()))
            self._write(Content(finished, tuple(_leaves(params))))

    def _write(self, content: Content) -> None:
        assert self._checkpoint is not None
        self._content = content._replace(elapsed=self.elapsed())
        self._written = time.perf_counter()
        if jax.process_index() != 0:
            return
        try:
            write(Path(self._checkpoint.folder), self._content, self._identity)
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or error
            self._checkpoint.warn(
                f"cannot write a checkpoint into {self._checkpoint.folder}: {reason}; training continues"
            )


@contextlib.contextmanager
def open_journal(checkpoint: Checkpoint | None, get_identity: Callable[[], Mapping[str, Any]]) -> Iterator[Journal]:
    """The journal of a training. With a checkpoint, this process becomes its only writer.

    Args:
        checkpoint: where the training is stored and resumed from; None for no checkpoint.
        get_identity: returns ``identity`` of the training; called only if there is a checkpoint.

    Raises:
        CheckpointError: the folder holds another training, a damaged checkpoint, or one of other library versions; or a
            function of the training cannot be compared with the one that the checkpoint was written for.
        RuntimeError: another process is writing into the folder.
        OSError: the folder is not writable.
    """
    if checkpoint is None:
        yield Journal(None, {}, Content())
        return
    own_identity = get_identity()
    with only_writer(checkpoint.folder) if jax.process_index() == 0 else contextlib.nullcontext():
        content = _read_latest(checkpoint, own_identity) if checkpoint.resume else Content()
        yield Journal(checkpoint, own_identity, content)


def _read_latest(checkpoint: Checkpoint, identity: Mapping[str, Any]) -> Content:
    """The latest usable content of the folder; empty if it has no checkpoint."""
    folder, reasons = Path(checkpoint.folder), []
    for path in (folder / LATEST, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            content, stored = read(path)
        except Unusable as error:
            reasons.append(f"{path.name} {error}")
            continue
        if differing := [name for name in identity if stored.get(name) != identity[name]]:
            raise CheckpointError(
                f"{folder} is the checkpoint of a training that differs in {' and '.join(differing)}; repeat the "
                "original call, or delete the folder to start again"
            )
        if reasons:
            checkpoint.warn(f"{folder}: {reasons[0]}; resuming from the previous checkpoint")
        return content
    if reasons:
        raise CheckpointError(f"{folder}: {'; '.join(reasons)}; delete the folder to start again")
    return Content()


def identity(phases: Sequence[Phase], key: Array) -> dict[str, Any]:
    """Everything that distinguishes a training: descriptions of what may differ, and digests of its functions and
    numbers.

    Raises:
        CheckpointError: a function has no fingerprint.
    """
    last = phases[-1].objective
    functions = [_function_fingerprints(phase.objective) for phase in phases]
    return {
        "problem": last.problem.name,
        "conditions": last.problem.conditions,
        **{name: [digests.get(name) for digests in functions] for name in dict.fromkeys(itertools.chain(*functions))},
        "domain": f"{last.problem.lower} {last.problem.upper}",
        "network": f"{last.network.hidden} {last.network.activation}",
        "terms": " then ".join(
            str({name: term.count for name, term in sorted(phase.objective.terms.items())}) for phase in phases
        ),
        "stages": " then ".join(", ".join(map(_describe, phase.stages)) for phase in phases),
        "seed, weights, coefficients, learning rates or data": digest(
            (tuple((phase.objective, phase.stages) for phase in phases), key)
        ),
    }


def _function_fingerprints(objective: Objective) -> dict[str, str]:
    """A digest for each function that training uses.

    Raises:
        CheckpointError: a function has no fingerprint.
    """
    problem = objective.problem
    try:
        known = problem.fingerprints
        terms = {
            name: known.terms[name] if problem.terms.get(name) is term else term_fingerprint(problem, name, term)
            for name, term in objective.terms.items()
        }
    except NoFingerprint as reason:
        raise CheckpointError(f"checkpoint: {reason}; train without a checkpoint") from None
    return known._replace(terms=terms).labelled()


def _describe(stage: Stage) -> str:
    """A stage's name and its static attributes; functions, such as a schedule, by what they compute."""
    static = {"steps": stage.steps} | vars(stage)
    settings = [f"{name}={_setting(name, value)}" for name, value in static.items() if not _is_number(value)]
    return f"{type(stage).__name__}({', '.join(settings)})"


def _setting(name: str, value: Any) -> Any:
    if not callable(value):
        return value
    try:
        return fingerprint(name, value, jax.ShapeDtypeStruct((), jnp.int32))
    except Exception as error:  # it is not a function of the step, or calls Python code
        raise CheckpointError(
            f"checkpoint: the stage's {name} cannot be compared with what it was before ({error}); train without a "
            "checkpoint"
        ) from None


def _is_number(value: object) -> bool:
    return isinstance(value, float | Array | np.ndarray)


def digest(tree: Any) -> str:
    """A SHA-256 digest of every number in a tree."""
    total = hashlib.sha256()
    for leaf in _leaves(tree):
        total.update(f"{leaf.dtype} {leaf.shape}".encode() + leaf.tobytes())
    return total.hexdigest()


def _leaves(tree: Any) -> list[np.ndarray]:
    return [np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf) for leaf in jax.tree.leaves(tree)]


def _restored(template: _Tree, leaves: Sequence[np.ndarray]) -> _Tree:
    """The leaves in the structure of ``template``."""

    def restore(like: Any, leaf: np.ndarray) -> Array:
        if is_key(like):
            return jax.random.wrap_key_data(jnp.asarray(leaf), impl=jax.random.key_impl(like))
        if (leaf.shape, leaf.dtype) != (like.shape, like.dtype):
            raise CheckpointError(
                f"checkpoint: it holds {leaf.dtype}{leaf.shape} but this training has {like.dtype}{like.shape}; repeat "
                "the original call, or delete the checkpoint to start again"
            )
        return jnp.asarray(leaf)

    likes, tree = jax.tree.flatten(template)
    return jax.tree.unflatten(tree, [restore(like, leaf) for like, leaf in zip(likes, leaves, strict=True)])
