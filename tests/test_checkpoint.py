"""Trainings resume bit for bit after an interruption, and survive a damaged checkpoint and a full disk."""

import contextlib
import itertools
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import kdpinn_jax as kd
from kdpinn_jax.base.lock import only_writer
from kdpinn_jax.training import checkpoint_file
from kdpinn_jax.training.checkpoint_file import LATEST, PREVIOUS

STAGES = (
    kd.Adam(45, 1e-2),
    kd.SSBroyden(25, sampling=kd.Sampling(every=10)),
    kd.LevenbergMarquardt(9, sampling=kd.Sampling(every=2, adaptive=("residual",), replace=0.5, unbiased=True)),
)


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def train(problem, checkpoint=None, monitor=None, stages=STAGES, seed=0):
    target = kd.objective(problem)
    params = kd.init_params(problem, target.network, jax.random.key(seed))
    return kd.fit(target, params, jax.random.key(seed), stages, checkpoint=checkpoint, monitor=monitor, record_every=5)


@pytest.fixture(scope="module")
def uninterrupted(decay):
    """A training that is not interrupted."""
    return train(decay, monitor=lambda params: jnp.asarray(0.5))


def monitor_with(interrupt_at=None, action=lambda: None):
    """A monitor that runs an action at every record, and raises SIGINT at record number ``interrupt_at``."""
    records = itertools.count()

    def monitor(params):
        action()
        if next(records) == interrupt_at:
            signal.raise_signal(signal.SIGINT)
        return jnp.asarray(0.5)

    return monitor


def assert_same(resumed, uninterrupted):
    """Parameters and reports are equal, except for the times."""
    assert bits(resumed.params) == bits(uninterrupted.params)
    assert len(resumed.stages) == len(uninterrupted.stages)
    for report, expected in zip(resumed.stages, uninterrupted.stages, strict=True):
        assert (report.stage, report.steps, report.status) == (expected.stage, expected.steps, expected.status)
        np.testing.assert_array_equal(report.record_steps, expected.record_steps)
        assert report.history.keys() == expected.history.keys()
        for name, values in expected.history.items():
            np.testing.assert_array_equal(report.history[name], values)
        assert report.fresh_loss == expected.fresh_loss
        assert np.all(np.diff(report.record_seconds) > 0)


def test_resumes_after_repeated_interruptions(decay, tmp_path, uninterrupted):
    """Every attempt is interrupted at its third record, so that every stage is interrupted."""
    checkpoint = kd.Checkpoint(tmp_path / "c")
    for attempts in itertools.count(1):
        try:
            resumed = train(decay, checkpoint, monitor_with(2))
            break
        except kd.TrainingInterrupted:
            assert attempts < 20
    assert attempts > 5
    assert_same(resumed, uninterrupted)


def test_resumes_from_the_checkpoint_of_any_record(decay, tmp_path, uninterrupted):
    """A copy of the folder at each record is what a process killed there would leave; all lead to the same result."""
    checkpoint, copies = kd.Checkpoint(tmp_path / "c", every=1e-9), itertools.count()
    copy = lambda: shutil.copytree(tmp_path / "c", tmp_path / f"copy{next(copies)}", ignore=lambda *_: [".lock"])
    assert_same(train(decay, checkpoint, monitor_with(action=copy)), uninterrupted)
    folders = sorted(tmp_path.glob("copy*"))
    assert len(folders) == sum(len(report.record_steps) for report in uninterrupted.stages)
    for folder in folders[:: max(1, len(folders) // 6)]:
        assert_same(train(decay, kd.Checkpoint(folder), monitor_with()), uninterrupted)


def test_a_completed_training_is_read_back(decay, tmp_path, uninterrupted):
    checkpoint = kd.Checkpoint(tmp_path / "c")
    train(decay, checkpoint, monitor_with())
    assert_same(train(decay, checkpoint, monitor_with(0)), uninterrupted)  # the monitor is never called
    train(decay, kd.Checkpoint(tmp_path / "c", resume=False), monitor_with())
    checkpoint.remove()
    assert not (tmp_path / "c").exists()


@pytest.mark.slow
def test_teacher_and_student(decay, tmp_path):
    """A student's imitation and its training on the PDE share one checkpoint and one clock."""
    short = (kd.Adam(10, 1e-2),)
    teacher = kd.train_teacher(decay, jax.random.key(0), stages=short)
    distil = lambda checkpoint: kd.distill(
        teacher, jax.random.key(1), imitate=short, stages=short, checkpoint=checkpoint
    )
    alone, first = distil(None), distil(kd.Checkpoint(tmp_path / "c"))
    again = distil(kd.Checkpoint(tmp_path / "c"))
    assert bits(alone.params) == bits(first.params) == bits(again.params)
    assert [report.stage for report in again.training] == ["Adam", "Adam"]
    assert again.training[1].seconds == first.training[1].seconds


@pytest.fixture
def interrupted(decay, tmp_path):
    """The folder of an interrupted training, with the latest and the previous checkpoint."""
    checkpoint = kd.Checkpoint(tmp_path / "c", every=1e-9)
    with pytest.raises(kd.TrainingInterrupted):
        train(decay, checkpoint, monitor_with(11))
    return tmp_path / "c"


def damage(path, kind):
    content = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "flipped bit":
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif kind == "header":
        path.write_bytes(content.replace(b"elapsed", b"elapse!"))
    elif kind == "another file":
        save_file({"x": np.zeros(3)}, path)


@pytest.mark.parametrize("kind", ["truncated", "empty", "flipped bit", "header", "another file"])
def test_a_damaged_checkpoint(decay, interrupted, uninterrupted, kind):
    damage(interrupted / LATEST, kind)
    with pytest.warns(RuntimeWarning, match=rf"{LATEST} is .*; resuming from the previous checkpoint"):
        resumed = train(decay, kd.Checkpoint(interrupted), monitor_with())
    assert_same(resumed, uninterrupted)
    for name in (LATEST, PREVIOUS):
        damage(interrupted / name, kind)
    with pytest.raises(kd.CheckpointError, match=f"{LATEST} is .*; {PREVIOUS} is .*; delete the folder to start again"):
        train(decay, kd.Checkpoint(interrupted), monitor_with())
    assert (interrupted / LATEST).exists()


def test_killed_between_the_two_renames(decay, interrupted, uninterrupted):
    (interrupted / LATEST).unlink()
    assert_same(train(decay, kd.Checkpoint(interrupted), monitor_with()), uninterrupted)


def test_checkpoint_of_other_library_versions(decay, interrupted, uninterrupted, monkeypatch):
    versions = checkpoint_file.library_versions()
    monkeypatch.setattr(checkpoint_file, "library_versions", lambda: versions | {"jax": "0.0.1"})
    with pytest.raises(
        kd.CheckpointError, match=f"was written by jax {versions['jax']}; only the same versions can resume it"
    ):
        train(decay, kd.Checkpoint(interrupted), monitor_with())
    monkeypatch.setattr(checkpoint_file, "library_versions", lambda: versions)
    assert_same(train(decay, kd.Checkpoint(interrupted), monitor_with()), uninterrupted)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed, weights"),
        ({"stages": STAGES[:2]}, "stages and seed"),
        ({"stages": (kd.Adam(45, 2e-2), *STAGES[1:])}, "differs in seed"),
    ],
)
def test_checkpoint_of_another_training(decay, interrupted, changes, named):
    with pytest.raises(kd.CheckpointError, match=f"{named}.*; repeat the original call, or delete"):
        train(decay, kd.Checkpoint(interrupted), monitor_with(), **changes)


def test_a_full_disk(decay, tmp_path, uninterrupted):
    """The operating system limits files to a hundred bytes: the training warns and continues."""
    warnings, (_, hard_limit) = [], resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard_limit))
    try:
        result = train(decay, kd.Checkpoint(tmp_path / "c", warn=warnings.append), monitor_with())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard_limit, hard_limit))
    assert_same(result, uninterrupted)
    assert len(warnings) == len(STAGES)
    assert "File too large" in warnings[0]
    assert warnings[0].endswith("training continues")
    assert list((tmp_path / "c").iterdir()) == []


def test_invalid_folder_and_interval(decay, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        train(decay, kd.Checkpoint(tmp_path / "file" / "c"))
    with pytest.raises(ValueError, match=r"every=0\.0 must be a positive number of seconds"):
        kd.Checkpoint(tmp_path, every=0.0)


def test_one_writer(decay, tmp_path):
    with only_writer(tmp_path / "c"):
        assert (tmp_path / "c" / ".lock").read_text() == str(os.getpid())
        with pytest.raises(RuntimeError, match=rf"c is being written by another run \(process {os.getpid()}\); wait"):
            train(decay, kd.Checkpoint(tmp_path / "c"))
    assert not (tmp_path / "c" / ".lock").exists()
    with only_writer(tmp_path / "c"):
        pass


#: A training of some seconds on the decay problem, with two kinds of stages and frequent checkpoints.
SCRIPT = """
import sys
import jax
import kdpinn_jax as kd
jax.config.update("jax_enable_x64", True)
residual = lambda u, z, c: kd.derivative(u, 0)(z) + u(z)
terms = {
    "residual": kd.Term(kd.box((0,), (1,)), residual, count=4096),
    "initial": kd.Term(kd.box((0,), (0,)), kd.dirichlet(1.0), count=1),
}
decay = kd.Problem("decay", ("t",), ("u",), (0.0,), (1.0,), terms, weights={"initial": 1.0})
adaptive = kd.Sampling(every=10, adaptive=("residual",))
stages = (kd.Adam(2000, 1e-2), kd.LevenbergMarquardt(150, sampling=adaptive))
checkpoint = kd.Checkpoint(sys.argv[1], every=0.05)
model = kd.train_teacher(decay, jax.random.key(0), network=kd.MLP((6,)), stages=stages, checkpoint=checkpoint)
kd.save(model, sys.argv[2])
"""


def modification_time(path):
    with contextlib.suppress(FileNotFoundError):  # before the first checkpoint, and between the two renames
        return path.stat().st_mtime_ns


@pytest.mark.slow
def test_resumes_after_repeated_kills(tmp_path):
    """A process is killed with SIGKILL at random moments, and another one resumes its training each time."""
    script, generator, kills = textwrap.dedent(SCRIPT), random.Random(0), 0
    root = {"cwd": Path(__file__).parents[1], "env": os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}}

    def start(name):
        return subprocess.Popen(
            [sys.executable, "-c", script, tmp_path / name, tmp_path / f"{name}.safetensors"], **root
        )

    with start("uninterrupted") as process:
        assert process.wait(timeout=120) == 0
    result, latest = tmp_path / "killed.safetensors", tmp_path / "killed" / LATEST
    while not result.exists():
        assert kills < 30
        with start("killed") as process:
            for _ in range(generator.randint(3, 6)):  # it is killed shortly after this number of checkpoints
                before = modification_time(latest)
                while process.poll() is None and modification_time(latest) == before:
                    time.sleep(0.001)
            time.sleep(generator.uniform(0.0, 0.05))
            kills += process.poll() is None
            process.kill()
        assert process.returncode in (0, -signal.SIGKILL)
    assert kills > 2
    uninterrupted, resumed = load_file(tmp_path / "uninterrupted.safetensors"), load_file(result)
    assert {name: tensor.tobytes() for name, tensor in resumed.items()} == {
        name: tensor.tobytes() for name, tensor in uninterrupted.items()
    }
