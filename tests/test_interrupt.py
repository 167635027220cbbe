"""Ctrl-C is recorded at once and takes effect between two calls of compiled programs."""

import itertools
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdpinn_jax as kd
from kdpinn_jax.training.interrupt import deferred_interrupt
from kdpinn_jax.training.runner import SingleRunner

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def handlers():
    """The handlers that the command line installs: SIGTERM acts like Ctrl-C."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_recorded_and_the_second_raises(handlers, number):
    with deferred_interrupt() as interrupt:
        assert not interrupt.requested
        signal.raise_signal(number)
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(number) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


def test_nested_contexts(handlers):
    """For the inner context, the handler of the outer one is a custom handler."""
    with deferred_interrupt() as outer, deferred_interrupt() as inner:
        signal.raise_signal(signal.SIGINT)
    assert (outer.requested, inner.requested) == (True, False)


def test_a_custom_handler_is_left_alone(handlers):
    received = []
    signal.signal(signal.SIGINT, lambda *_: received.append(1))
    with deferred_interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
    assert (received, interrupt.requested) == ([1], False)


def test_other_threads_are_left_alone(handlers):
    results = []

    def body():
        with deferred_interrupt() as interrupt:
            results.append((interrupt.requested, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert results == [(False, signal.default_int_handler)]


def fit(problem, **options):
    target = kd.objective(problem, kd.MLP((3,)))
    params = kd.init_params(problem, target.network, jax.random.key(0))
    return kd.fit(target, params, jax.random.key(1), (kd.Adam(6), kd.Adam(8)), record_every=2, **options)


def test_ctrl_c_while_compiling(decay, monkeypatch, handlers):
    """No step is taken, and the signal is not lost in the compiler."""
    advance = SingleRunner.advance

    def interrupted_advance(*arguments):
        signal.raise_signal(signal.SIGINT)
        return advance(*arguments)

    monkeypatch.setattr(SingleRunner, "advance", interrupted_advance)
    with pytest.raises(kd.TrainingInterrupted, match="interrupted at step 0 of 6"):
        fit(decay)


@pytest.mark.parametrize(("record", "steps"), [(1, [4]), (2, [6]), (5, [6, 6])])
def test_ctrl_c_at_a_record(decay, handlers, record, steps):
    """At the last record of a stage the stage is completed, and the next one does not begin."""
    records = itertools.count()

    def monitor(params):
        if next(records) == record:
            signal.raise_signal(signal.SIGTERM)
        return jnp.asarray(0.5)

    with pytest.raises(kd.TrainingInterrupted) as interrupted:
        fit(decay, monitor=monitor)
    assert [report.steps for report in interrupted.value.fit.stages] == steps
    completed = [kd.Status(report.status) is kd.Status.COMPLETED for report in interrupted.value.fit.stages]
    assert completed == [taken == planned for taken, planned in zip(steps, (6, 8), strict=False)]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(interrupted.value.fit.params))


def test_a_second_ctrl_c_takes_effect_immediately(decay, handlers):
    """The completed stages are kept, and the running one is not."""
    records = itertools.count()

    def monitor(params):
        if next(records) == 4:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return jnp.asarray(0.5)

    with pytest.raises(kd.TrainingInterrupted, match="completed its 6 steps") as interrupted:
        fit(decay, monitor=monitor)
    (first,) = interrupted.value.fit.stages
    assert first.steps == 6
