"""Trainings that die and go on: the same parameters, bit for bit, and nothing is lost to a bad file or a full disk."""

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
from kdpinn_jax.training import checkpoint_file as _checkpoint_file
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
def whole(decay):
    """The training that is never stopped."""
    return train(decay, monitor=lambda params: jnp.asarray(0.5))


def counted(stop=None, look=lambda: None):
    """A monitor that is a Ctrl-C at its look number ``stop``."""
    looks = itertools.count()

    def monitor(params):
        look()
        if next(looks) == stop:
            signal.raise_signal(signal.SIGINT)
        return jnp.asarray(0.5)

    return monitor


def alike(found, whole):
    assert bits(found.params) == bits(whole.params)
    assert len(found.stages) == len(whole.stages)
    for ours, theirs in zip(found.stages, whole.stages, strict=True):
        assert (ours.stage, ours.steps, ours.status) == (theirs.stage, theirs.steps, theirs.status)
        np.testing.assert_array_equal(ours.record_steps, theirs.record_steps)
        assert ours.history.keys() == theirs.history.keys()
        for name, values in theirs.history.items():
            np.testing.assert_array_equal(ours.history[name], values)
        assert ours.fresh_loss == theirs.fresh_loss
        assert np.all(np.diff(ours.record_seconds) > 0)


def test_stopped_again_and_again(decay, tmp_path, whole):
    """By Ctrl-C at the third record of every life, in every stage."""
    checkpoint = kd.Checkpoint(tmp_path / "c")
    for lives in itertools.count(1):
        try:
            found = train(decay, checkpoint, counted(2))
            break
        except kd.TrainingInterrupted:
            assert lives < 20
    assert lives > 5
    alike(found, whole)


def test_dead_at_any_moment(decay, tmp_path, whole):
    """A copy of the folder as it is at each record is what a killed process leaves; each goes on to the same end."""
    checkpoint, copies = kd.Checkpoint(tmp_path / "c", every=1e-9), itertools.count()
    copy = lambda: shutil.copytree(tmp_path / "c", tmp_path / f"copy{next(copies)}", ignore=lambda *_: [".lock"])
    alike(train(decay, checkpoint, counted(look=copy)), whole)
    copied = sorted(tmp_path.glob("copy*"))
    assert len(copied) == sum(len(report.record_steps) for report in whole.stages)
    for folder in copied[:: max(1, len(copied) // 6)]:
        alike(train(decay, kd.Checkpoint(folder), counted()), whole)


def test_a_training_that_ended_is_read_back(decay, tmp_path, whole):
    checkpoint = kd.Checkpoint(tmp_path / "c")
    train(decay, checkpoint, counted())
    alike(train(decay, checkpoint, counted(0)), whole)  # not a single look
    train(decay, kd.Checkpoint(tmp_path / "c", resume=False), counted())
    checkpoint.remove()
    assert not (tmp_path / "c").exists()


@pytest.mark.slow
def test_teacher_and_student(decay, tmp_path):
    """A student's imitation and its training are one training with one clock."""
    short = (kd.Adam(10, 1e-2),)
    teacher = kd.train_teacher(decay, jax.random.key(0), stages=short)
    teach = lambda checkpoint: kd.distill(
        teacher, jax.random.key(1), imitate=short, stages=short, checkpoint=checkpoint
    )
    alone, first = teach(None), teach(kd.Checkpoint(tmp_path / "c"))
    again = teach(kd.Checkpoint(tmp_path / "c"))
    assert bits(alone.params) == bits(first.params) == bits(again.params)
    assert [report.stage for report in again.training] == ["Adam", "Adam"]
    assert again.training[1].seconds == first.training[1].seconds


@pytest.fixture
def stopped(decay, tmp_path):
    """A checkpoint and the one before it."""
    checkpoint = kd.Checkpoint(tmp_path / "c", every=1e-9)
    with pytest.raises(kd.TrainingInterrupted):
        train(decay, checkpoint, counted(11))
    return tmp_path / "c"


def spoil(path, how):
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "a bit":
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif how == "header":
        path.write_bytes(content.replace(b"elapsed", b"elapse!"))
    elif how == "not one":
        save_file({"x": np.zeros(3)}, path)


@pytest.mark.parametrize("how", ["truncated", "empty", "a bit", "header", "not one"])
def test_a_damaged_checkpoint(decay, stopped, whole, how):
    spoil(stopped / LATEST, how)
    with pytest.warns(RuntimeWarning, match=rf"{LATEST} is .*; resuming from the previous checkpoint"):
        found = train(decay, kd.Checkpoint(stopped), counted())
    alike(found, whole)
    for name in (LATEST, PREVIOUS):
        spoil(stopped / name, how)
    with pytest.raises(kd.CheckpointError, match=f"{LATEST} is .*; {PREVIOUS} is .*; delete the folder to start again"):
        train(decay, kd.Checkpoint(stopped), counted())
    assert (stopped / LATEST).exists()


def test_between_two_renames(decay, stopped, whole):
    (stopped / LATEST).unlink()
    alike(train(decay, kd.Checkpoint(stopped), counted()), whole)


def test_other_versions(decay, stopped, whole, monkeypatch):
    versions = _checkpoint_file.library_versions()
    monkeypatch.setattr(_checkpoint_file, "library_versions", lambda: versions | {"jax": "0.0.1"})
    with pytest.raises(
        kd.CheckpointError, match=f"was written by jax {versions['jax']}; only the same versions can resume it"
    ):
        train(decay, kd.Checkpoint(stopped), counted())
    monkeypatch.setattr(_checkpoint_file, "library_versions", lambda: versions)
    alike(train(decay, kd.Checkpoint(stopped), counted()), whole)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 1}, "seed, weights"),
        ({"stages": STAGES[:2]}, "stages and seed"),
        ({"stages": (kd.Adam(45, 2e-2), *STAGES[1:])}, "differs in seed"),
    ],
)
def test_of_another_training(decay, stopped, changed, named):
    with pytest.raises(kd.CheckpointError, match=f"{named}.*; repeat the original call, or delete"):
        train(decay, kd.Checkpoint(stopped), counted(), **changed)


def test_a_full_disk(decay, tmp_path, whole):
    """No file may grow beyond a hundred bytes, as far as the operating system lets us: it says so, and goes on."""
    said, (_, most) = [], resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, most))
    try:
        found = train(decay, kd.Checkpoint(tmp_path / "c", warn=said.append), counted())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    alike(found, whole)
    assert len(said) == len(STAGES)
    assert "File too large" in said[0]
    assert said[0].endswith("training continues")
    assert list((tmp_path / "c").iterdir()) == []


def test_a_folder_that_cannot_be(decay, tmp_path):
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


#: A training of some seconds: the decay problem, all kinds of stages, a checkpoint whenever there is time for one.
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
decay = kd.Problem(name="decay", axes=("t",), fields=("u",), lower=(0.0,), upper=(1.0,), terms=terms)
adaptive = kd.Sampling(every=10, adaptive=("residual",))
stages = (kd.Adam(2000, 1e-2), kd.LevenbergMarquardt(150, sampling=adaptive))
checkpoint = kd.Checkpoint(sys.argv[1], every=0.05)
model = kd.train_teacher(decay, jax.random.key(0), network=kd.MLP((6,)), stages=stages, checkpoint=checkpoint)
kd.save(model, sys.argv[2])
"""


def when(path):
    with contextlib.suppress(FileNotFoundError):  # also between two renames
        return path.stat().st_mtime_ns


@pytest.mark.slow
def test_killed_many_times(tmp_path):
    """A real process, killed with SIGKILL at random moments after it has gone on from where the last one died."""
    script, chance, deaths = textwrap.dedent(SCRIPT), random.Random(0), 0
    root = {"cwd": Path(__file__).parents[1], "env": os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}}

    def start(name):
        return subprocess.Popen(
            [sys.executable, "-c", script, tmp_path / name, tmp_path / f"{name}.safetensors"], **root
        )

    with start("whole") as never_killed:
        assert never_killed.wait(timeout=120) == 0
    result, latest = tmp_path / "killed.safetensors", tmp_path / "killed" / LATEST
    while not result.exists():
        assert deaths < 30
        with start("killed") as process:
            for _ in range(chance.randint(2, 6)):  # as many checkpoints, and then a moment, is how long it lives
                before = when(latest)
                while process.poll() is None and when(latest) == before:
                    time.sleep(0.001)
            time.sleep(chance.uniform(0.0, 0.05))
            deaths += process.poll() is None
            process.kill()
        assert process.returncode in (0, -signal.SIGKILL)
    assert deaths > 2
    whole, found = load_file(tmp_path / "whole.safetensors"), load_file(result)
    assert {name: tensor.tobytes() for name, tensor in found.items()} == {
        name: tensor.tobytes() for name, tensor in whole.items()
    }
