"""Ctrl-C is noted at once and obeyed between two calls of compiled programs."""

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
    """Those of the command line, where SIGTERM is a Ctrl-C."""
    before = {which: signal.signal(which, signal.default_int_handler) for which in SIGNALS}
    yield
    for which, handler in before.items():
        signal.signal(which, handler)


@pytest.mark.parametrize("which", SIGNALS)
def test_noted_then_obeyed(handlers, which):
    with deferred_interrupt() as interrupt:
        assert not interrupt.requested
        signal.raise_signal(which)
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(which) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(which)


def test_one_within_another(handlers):
    """The outer one's handler is the caller's own to the inner one."""
    with deferred_interrupt() as outer, deferred_interrupt() as inner:
        signal.raise_signal(signal.SIGINT)
    assert (outer.requested, inner.requested) == (True, False)


def test_a_handler_of_ones_own_stays(handlers):
    seen = []
    signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    with deferred_interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
    assert (seen, interrupt.requested) == ([1], False)


def test_in_a_thread_nothing_is_asked(handlers):
    found = []

    def body():
        with deferred_interrupt() as interrupt:
            found.append((interrupt.requested, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert found == [(False, signal.default_int_handler)]


def fitted(problem, **options):
    target = kd.objective(problem, kd.MLP((3,)))
    params = kd.init_params(problem, target.network, jax.random.key(0))
    return kd.fit(target, params, jax.random.key(1), (kd.Adam(6), kd.Adam(8)), record_every=2, **options)


def test_while_it_compiles(decay, monkeypatch, handlers):
    """Not a step is taken, and the signal is not lost in the compiler."""
    advance = SingleRunner.advance

    def pressed(*arguments):
        signal.raise_signal(signal.SIGINT)
        return advance(*arguments)

    monkeypatch.setattr(SingleRunner, "advance", pressed)
    with pytest.raises(kd.TrainingInterrupted, match="interrupted at step 0 of 6"):
        fitted(decay)


@pytest.mark.parametrize(("look", "steps"), [(1, [4]), (2, [6]), (5, [6, 6])])
def test_at_a_record(decay, handlers, look, steps):
    """At the last record of a stage the stage is complete, and the next one does not begin."""
    looks = itertools.count()

    def monitor(params):
        if next(looks) == look:
            signal.raise_signal(signal.SIGTERM)
        return jnp.asarray(0.5)

    with pytest.raises(kd.TrainingInterrupted) as caught:
        fitted(decay, monitor=monitor)
    assert [report.steps for report in caught.value.fit.stages] == steps
    complete = [kd.Status(report.status) is kd.Status.COMPLETED for report in caught.value.fit.stages]
    assert complete == [step == whole for step, whole in zip(steps, (6, 8), strict=False)]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(caught.value.fit.params))


def test_twice_does_not_wait(decay, handlers):
    """What had ended is kept, and the stage under way is not."""
    looks = itertools.count()

    def monitor(params):
        if next(looks) == 4:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return jnp.asarray(0.5)

    with pytest.raises(kd.TrainingInterrupted, match="completed its 6 steps") as caught:
        fitted(decay, monitor=monitor)
    (first,) = caught.value.fit.stages
    assert first.steps == 6
