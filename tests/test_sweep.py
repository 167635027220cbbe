"""Sweeps: every member has the results of a separate training, for all devices, chunks and groups."""

import itertools
import json
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdpinn_jax as kd
from kdpinn_jax.training.batch import BatchRunner

STAGES = (kd.Adam(25, 1e-2), kd.LevenbergMarquardt(5, sampling=kd.Sampling(every=2)))
NETWORK = kd.MLP((4,))


def assert_same(model, alone, rtol=1e-6):
    """The models are the same up to rounding, which some steps amplify."""
    assert model.layers == alone.layers
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-9), model.params, alone.params)
    assert dict(model.coefficients) == dict(alone.coefficients)
    assert len(model.training) == len(alone.training)
    for report, expected in zip(model.training, alone.training, strict=True):
        assert (report.stage, report.steps, report.status) == (expected.stage, expected.steps, expected.status)
        np.testing.assert_array_equal(report.record_steps, expected.record_steps)
        assert report.record_seconds.shape == expected.record_seconds.shape
        for name in expected.history:
            np.testing.assert_allclose(report.history[name], expected.history[name], rtol=1e-5, atol=1e-12)
        np.testing.assert_allclose(report.fresh_loss, expected.fresh_loss, rtol=1e-5)


def bits(models):
    return [np.asarray(leaf).tobytes() for model in models for leaf in jax.tree.leaves(model.params)]


@pytest.fixture(scope="module")
def members(decay):
    """Members that differ in seed, coefficient, weight and learning rate; number 3 becomes non-finite."""
    seeds_and_coefficients = kd.members(decay, network=NETWORK, stages=STAGES, seed=(0, 1), k=(0.5, 2.0))
    weights_and_rates = kd.members(decay, network=NETWORK, stages=STAGES, initial=(0.0,), learning_rate=(1e300, 1e-3))
    return [*seeds_and_coefficients[:3], *weights_and_rates]


@pytest.fixture(scope="module")
def separate_models(decay, members):
    """The models of separate trainings of the members."""
    return [
        kd.train_teacher(
            decay,
            jax.random.key(member.seed),
            network=NETWORK,
            stages=member.stages or STAGES,
            coefficients=member.coefficients,
            weights=member.weights,
        )
        for member in members
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "chunk"), [(1, None), (2, 2), (4, None)])
def test_members_have_the_results_of_separate_trainings(decay, members, separate_models, devices, chunk):
    models = kd.sweep(decay, members, network=NETWORK, stages=STAGES, devices=jax.devices()[:devices], chunk=chunk)
    for model, alone in zip(models, separate_models, strict=True):
        assert_same(model, alone)
    non_finite = [kd.Status(model.training[-1].status) is kd.Status.NON_FINITE for model in models]
    assert non_finite == [False, False, False, True, False]
    assert len(models[3].training) == 1  # its second stage never began
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(models[3].params))


@pytest.mark.slow
def test_students_of_one_teacher(decay, untrained):
    """Students with and without soft targets in the loss, in two shapes, are returned in the order of the members."""
    teacher, short = untrained(decay, 3), {"imitate": (kd.Adam(5, 1e-2),), "stages": (kd.Adam(5, 1e-2),)}
    members = kd.members(teacher, soft_target=(0.0, 1.0), layers=((4,), (3, 3)))
    models = kd.sweep(teacher, members, **short)
    assert [model.layers for model in models] == [(1, 4, 1), (1, 3, 3, 1)] * 2
    for member, model in zip(members, models, strict=True):
        alone = kd.distill(teacher, jax.random.key(0), network=member.network, weights=member.weights, **short)
        assert_same(model, alone)


@pytest.mark.slow
def test_an_interrupted_sweep_resumes_bit_for_bit(decay, members, tmp_path, monkeypatch):
    """The sweep is interrupted at every fourth call and resumed each time."""
    run = lambda members, **options: kd.sweep(decay, members, network=NETWORK, stages=STAGES, **options)
    uninterrupted, advance, calls = run(members[:2]), BatchRunner.advance, itertools.count()

    def interrupted_advance(*arguments):
        if next(calls) % 4 == 3:
            signal.raise_signal(signal.SIGINT)
        return advance(*arguments)

    monkeypatch.setattr(BatchRunner, "advance", interrupted_advance)
    for attempts in itertools.count(1):
        try:
            models = run(members[:2], checkpoint=kd.Checkpoint(tmp_path / "c"))
            break
        except kd.TrainingInterrupted:
            assert attempts < 12
    assert attempts > 2
    assert bits(models) == bits(uninterrupted)
    with pytest.raises(kd.CheckpointError, match="differs in seed"):
        run(members[1:3], checkpoint=kd.Checkpoint(tmp_path / "c"))


@pytest.mark.slow
@pytest.mark.parametrize("stage", [kd.Adam(20, 1e-2), kd.LevenbergMarquardt(5, sampling=kd.ADAPTIVE)])
@pytest.mark.parametrize("devices", [2, 4])
def test_points_divided_among_devices(decay, stage, devices):
    """33 points do not divide evenly, so that the shares are padded."""
    measured = {"data": kd.data(np.linspace(0, 1, 33)[:, None], np.exp(-np.linspace(0, 1, 33))[:, None])}
    train = lambda devices: kd.train_teacher(
        decay, jax.random.key(0), network=NETWORK, stages=(stage,), terms=measured, devices=devices
    )
    assert_same(train(jax.devices()[:devices]), train(None))


def test_members(decay, untrained):
    members = kd.members(decay, seed=range(2), k=(0.5, 2), layers=((3,), (4, 4)), learning_rate=(1e-3,), stages=STAGES)
    assert [(m.seed, m.coefficients["k"], m.network.hidden) for m in members[:3]] == [
        (0, 0.5, (3,)),
        (0, 0.5, (4, 4)),
        (0, 2.0, (3,)),
    ]
    assert len(members) == 8
    assert members[0].stages == (kd.Adam(25, 1e-3), STAGES[1])
    assert members[0].varied == {"seed": 0, "k": 0.5, "layers": (3,), "learning_rate": 1e-3}
    integer = kd.members(decay, learning_rate=(2,), stages=(kd.Adam(25, 1),))  # an int becomes a float
    assert integer[0].stages == (kd.Adam(25, 2.0),)
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
        kd.sweep(decay, members, chunk=0)


@pytest.mark.slow
def test_rank_puts_the_best_first(decay, members, separate_models):
    rows = kd.sweep_table(members, separate_models, [kd.evaluate(model) for model in separate_models])
    order = kd.rank(rows)
    errors = [rows[i]["relative_l2"] for i in order]
    assert errors == sorted(errors)
    assert rows[0]["layers"] == "1-4-1"
    assert rows[3]["ended"].startswith("non-finite")
    without_reference = [{"fresh_loss": value} for value in (2.0, np.nan, 1.0)]
    assert kd.rank(without_reference) == [2, 0, 1]
    assert json.dumps(rows[0])
    assert jnp.isfinite(rows[0]["fresh_loss"])
