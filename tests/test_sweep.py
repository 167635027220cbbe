"""Sweeps: every member has the numbers of its own training, whatever the devices, chunks and company."""

import itertools
import json
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdpinn_jax as kd
from kdpinn_jax.training import batch as _batch

STAGES = (kd.Adam(25, 1e-2), kd.LevenbergMarquardt(5, sampling=kd.Sampling(every=2)))
NETWORK = kd.MLP((4,))


def alike(model, alone, rtol=1e-6):
    """The same model up to rounding, which some steps amplify."""
    assert model.layers == alone.layers
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-9), model.params, alone.params)
    assert dict(model.coefficients) == dict(alone.coefficients)
    assert len(model.training) == len(alone.training)
    for ours, theirs in zip(model.training, alone.training, strict=True):
        assert (ours.stage, ours.steps, ours.status) == (theirs.stage, theirs.steps, theirs.status)
        np.testing.assert_array_equal(ours.record_steps, theirs.record_steps)
        assert ours.record_seconds.shape == theirs.record_seconds.shape
        for name in theirs.history:
            np.testing.assert_allclose(ours.history[name], theirs.history[name], rtol=1e-5, atol=1e-12)
        np.testing.assert_allclose(ours.fresh_loss, theirs.fresh_loss, rtol=1e-5)


def bits(models):
    return [np.asarray(leaf).tobytes() for model in models for leaf in jax.tree.leaves(model.params)]


@pytest.fixture(scope="module")
def members(decay):
    """Differing in seed, coefficient, weight and learning rate; one of them breaks."""
    made = kd.members(decay, network=NETWORK, stages=STAGES, seed=(0, 1), k=(0.5, 2.0))
    weighed = kd.members(decay, network=NETWORK, stages=STAGES, initial=(0.0,), learning_rate=(1e300, 1e-3))
    return [*made[:3], *weighed]


@pytest.fixture(scope="module")
def alone(decay, members):
    return [
        kd.train_teacher(
            decay,
            jax.random.key(m.seed),
            network=NETWORK,
            stages=m.stages or STAGES,
            coefficients=m.coefficients,
            weights=m.weights,
        )
        for m in members
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "chunk"), [(1, None), (2, 2), (4, None)])
def test_a_member_has_the_numbers_of_its_own_training(decay, members, alone, devices, chunk):
    models = kd.sweep(decay, members, network=NETWORK, stages=STAGES, devices=jax.devices()[:devices], chunk=chunk)
    for model, theirs in zip(models, alone, strict=True):
        alike(model, theirs)
    broken = [kd.Status(model.training[-1].status) is kd.Status.NON_FINITE for model in models]
    assert broken == [False, False, False, True, False]
    assert len(models[3].training) == 1  # its second stage never began
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(models[3].params))


@pytest.mark.slow
def test_students_of_one_teacher(decay, untrained):
    """Grouped by shape, the soft target kept beside the equation or not; in the order they were named."""
    teacher, short = untrained(decay, 3), {"imitate": (kd.Adam(5, 1e-2),), "stages": (kd.Adam(5, 1e-2),)}
    made = kd.members(teacher, soft_target=(0.0, 1.0, 3.0), layers=((4,), (3, 3)))
    models = kd.sweep(teacher, made, **short)
    assert [model.layers for model in models] == [(1, 4, 1), (1, 3, 3, 1)] * 3
    for member, model in zip(made, models, strict=True):
        alike(model, kd.distill(teacher, jax.random.key(0), network=member.network, weights=member.weights, **short))


@pytest.mark.slow
def test_a_sweep_goes_on(decay, members, tmp_path, monkeypatch):
    """Stopped at one call after the other: the same bits as the sweep that was not."""
    run = lambda members, **options: kd.sweep(decay, members, network=NETWORK, stages=STAGES, **options)
    whole, advance, calls = run(members[:2]), _batch.BatchRunner.advance, itertools.count()

    def stopped(*arguments):
        if next(calls) % 4 == 3:
            signal.raise_signal(signal.SIGINT)
        return advance(*arguments)

    monkeypatch.setattr(_batch.BatchRunner, "advance", stopped)
    for lives in itertools.count(1):
        try:
            models = run(members[:2], checkpoint=kd.Checkpoint(tmp_path / "c"))
            break
        except kd.TrainingInterrupted:
            assert lives < 12
    assert lives > 2
    assert bits(models) == bits(whole)
    with pytest.raises(kd.CheckpointError, match="differs in seed"):
        run(members[1:3], checkpoint=kd.Checkpoint(tmp_path / "c"))


@pytest.mark.slow
@pytest.mark.parametrize("stage", [kd.Adam(20, 1e-2), kd.LevenbergMarquardt(5, sampling=kd.ADAPTIVE)])
@pytest.mark.parametrize("devices", [2, 4])
def test_points_split_over_devices(decay, stage, devices):
    """33 points: the shares are filled up."""
    measured = {"data": kd.data(np.linspace(0, 1, 33)[:, None], np.exp(-np.linspace(0, 1, 33))[:, None])}
    train = lambda devices: kd.train_teacher(
        decay, jax.random.key(0), network=NETWORK, stages=(stage,), terms=measured, devices=devices
    )
    alike(train(jax.devices()[:devices]), train(None))


def test_members(decay, untrained):
    made = kd.members(decay, seed=range(2), k=(0.5, 2), layers=((3,), (4, 4)), learning_rate=(1e-3,), stages=STAGES)
    assert [(m.seed, m.coefficients["k"], m.network.hidden) for m in made[:3]] == [
        (0, 0.5, (3,)),
        (0, 0.5, (4, 4)),
        (0, 2.0, (3,)),
    ]
    assert len(made) == 8
    assert made[0].stages == (kd.Adam(25, 1e-3), STAGES[1])
    assert made[0].varied == {"seed": 0, "k": 0.5, "layers": (3,), "learning_rate": 1e-3}
    whole = kd.members(decay, learning_rate=(2,), stages=(kd.Adam(25, 1),))  # a number, though it was given as an int
    assert whole[0].stages == (kd.Adam(25, 2.0),)
    with pytest.raises(ValueError, match="members: 'steps' cannot be varied"):
        kd.members(decay, steps=(1, 2), stages=STAGES)
    assert kd.members(untrained(decay), soft_target=(2.0,))[0].weights == {"soft_target": 2.0}
    with pytest.raises(ValueError, match=r"members: 'kk' cannot be varied; did you mean 'k'\?"):
        kd.members(decay, kk=(1.0,))
    with pytest.raises(ValueError, match="members: k has no values"):
        kd.members(decay, k=())
    with pytest.raises(ValueError, match="members is empty"):
        kd.sweep(decay, [])
    with pytest.raises(ValueError, match="chunk=0 must be at least 1"):
        kd.sweep(decay, made, chunk=0)


@pytest.mark.slow
def test_the_best_come_first(decay, members, alone):
    rows = kd.sweep_table(members, alone, [kd.evaluate(model) for model in alone])
    order = kd.rank(rows)
    errors = [rows[i]["relative_l2"] for i in order]
    assert errors == sorted(errors)
    assert rows[0]["layers"] == "1-4-1"
    assert rows[3]["ended"].startswith("non-finite")
    without = [{"fresh_loss": value} for value in (2.0, np.nan, 1.0)]
    assert kd.rank(without) == [2, 0, 1]
    assert json.dumps(rows[0])
    assert jnp.isfinite(rows[0]["fresh_loss"])
