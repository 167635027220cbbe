"""``diagnose``: warnings about a training, derived from its reports."""

import math
from collections.abc import Sequence

import numpy as np

from .report import StageReport, Status, TermReport

#: The loss on fresh points, relative to that on the training points, above which the network fits its points alone: of
#: any loss that is not rounding error, and of one that is not small, relative to the first loss. Good trainings of the
#: problems shipped with the library end with up to 12 (burgers, at 1e-8 of the first loss).
OVERFITTED = ((100.0, 1e-15), (15.0, 1e-6))
#: The factor by which the loss must fall.
NO_PROGRESS = 2.0
#: The relative error of a wrong solution.
WRONG = 0.1
#: The root mean square by which a condition may miss the values that it prescribes, relative to their size.
MISSED = 0.03


def diagnose(stages: Sequence[StageReport]) -> tuple[str, ...]:
    """Warnings about a training, each one line with what to try; empty if nothing looks wrong.

    Args:
        stages: the reports of ``model.training``.
    """
    if not stages:
        return ()
    trained = [report for report in stages if took_a_step(report)]
    last, ended = (trained or stages)[-1], stages[-1]
    if not trained or Status(int(ended.status)) is Status.NON_FINITE:
        warning = _ended_early(ended)
        if not took_a_step(ended):
            return (warning,)
        return (warning, *_about_the_loss(trained, last))
    return _about_the_loss(trained, last)


def took_a_step(report: StageReport) -> bool:
    """Whether a stage took a step at a finite loss."""
    return len(report.record_steps) > 0 and bool(np.isfinite(report.history["loss"]).any())


def _ended_early(report: StageReport) -> str:
    """Why the last stage did not train, or did not train to its end."""
    if Status(int(report.status)) is not Status.NON_FINITE:
        if Status(int(report.status)) is Status.TIME_BUDGET:
            return (
                "untrained: compiling took the whole time budget; try a larger one, "
                f"time_budget={_round(10 * _seconds([report]))}"
            )
        return f"untrained: {report.why()}"
    if took_a_step(report):
        return f"the training broke off: {report.why()}"
    names = [name for name, term in report.terms.items() if not math.isfinite(term.rms)]
    return (
        f"nothing was learned: the loss{_of(names)} is not finite at the first step of {report.stage}. The values of "
        "an untrained network are about 0; look for √, log, exp or a division in the residual that is undefined there, "
        "or keep u in its range by an ansatz, such as ansatz=lambda net, z, c: 1 + 0.1 * net(z)"
    )


def _about_the_loss(trained: Sequence[StageReport], last: StageReport) -> tuple[str, ...]:
    # Stages on other terms, such as the imitation of a teacher, have a different loss.
    comparable = [report for report in trained if report.history.keys() == last.history.keys()]
    loss, first = float(last.history["loss"][-1]), float(comparable[0].history["loss"][0])
    warnings = []
    if any(float(last.fresh_loss) > max(ratio * loss, negligible * first) for ratio, negligible in OVERFITTED):
        warnings.append(_overfitted(last, loss))
    if undefined := [name for name, term in last.terms.items() if not math.isfinite(term.rms)]:
        warnings.append(
            f"the residual{_of(undefined)} is not finite at some points that training did not draw: look for √, log or "
            "a division that is undefined in a part of the domain"
        )
    error = float(last.history["relative_l2"][-1]) if "relative_l2" in last.history else float(last.relative_l2)
    stuck = sum(len(report.record_steps) for report in comparable) > 1 and loss * NO_PROGRESS > first
    # A student that has imitated a good teacher, or a model that is trained further, has little left to learn.
    good = error <= WRONG and not any(term.measured for term in last.terms.values())
    if stuck and not good:
        warnings.append(_no_progress(last, first, loss, _seconds(trained)))
    elif error > WRONG:
        warnings.append(_wrong(last, first, loss, error, _seconds(trained)))
    missed = [_missed(name, term) for name, term in last.terms.items() if term.rms > MISSED * term.scale > 0]
    return (*last.jumps, *warnings, *missed)


def _overfitted(last: StageReport, loss: float) -> str:
    terms = last.terms
    found = f"the loss is {float(last.fresh_loss):.1e} on fresh points and {loss:.1e} on the training points"
    if not terms:
        return f"{found}: the network fits its points and not the equation between them; {_redraw(terms)}"

    def excess(name: str) -> float:
        return terms[name].weight * (terms[name].rms ** 2 - float(last.history[name][-1]))

    name = max(terms, key=excess)
    more = (
        f"draw more points of {name!r}, such as "
        f"terms={{{name!r}: dataclasses.replace(problem.terms[{name!r}], count={4 * terms[name].points})}}"
    )
    advice = more if terms[name].adaptive else f"{_redraw({name: terms[name]})} in the last stage, or {more}"
    return f"{found}, mostly in {name!r}: the network fits its points and not the equation between them; {advice}"


def _no_progress(last: StageReport, first: float, loss: float, seconds: float) -> str:
    fell = f"the loss fell only from {first:.1e} to {loss:.1e}"
    more = f"more time (time_budget={_round(3 * seconds)}), another key, or a wider network (network=MLP((50, 50, 50)))"
    parts = {name: term.weight * float(last.history[name][-1]) for name, term in last.terms.items()}
    if not parts:
        return f"no progress: {fell}; try {more}"
    name = max(parts, key=parts.__getitem__)
    term, share = last.terms[name], f"{100 * parts[name] / (sum(parts.values()) or 1.0):.0f} %"
    heavier = f"weights={{{name!r}: {10 * term.weight:g}}}"
    if term.measured:
        return (
            f"{fell}, and {share} of it is {name!r}, whose values differ from the solution by {term.rms:.1e}: this "
            "residual cannot fall below the noise of the values, and it is no fault if that is their noise; otherwise "
            f"the values contradict the other terms, and more weight follows them more closely ({heavier})"
        )
    return f"no progress: {fell}, and {share} of it is {name!r}; try more weight on it ({heavier}), {more}"


def _missed(name: str, term: TermReport) -> str:
    return (
        f"condition {name!r} is missed by {100 * term.rms / term.scale:.0f} % ({term.rms:.1e} of {term.scale:.1e}, "
        f"root mean squares); try more weight on it (weights={{{name!r}: {10 * term.weight:g}}}), or more steps"
    )


def _wrong(last: StageReport, first: float, loss: float, error: float, seconds: float) -> str:
    advice = [f"more time (time_budget={_round(3 * seconds)})"]
    conditions = {name: 10 * term.weight for name, term in last.terms.items() if math.isfinite(term.scale)}
    if conditions:
        weights = ", ".join(f"{name!r}: {weight:g}" for name, weight in conditions.items())
        advice.append(f"more weight on the conditions (weights={{{weights}}})")
    if not any(term.adaptive for term in last.terms.values()):
        advice.append(f"points where the residual is large ({_redraw(last.terms)})")
    return (
        f"the loss fell from {first:.1e} to {loss:.1e}, but the solution differs from the reference by "
        f"{100 * error:.0f} %: it has not converged, or it has converged to a wrong solution (such as a front in the "
        f"wrong place); try {', '.join(advice)}, or another key"
    )


def _redraw(terms: dict[str, TermReport]) -> str:
    """The sampling to try for the equations among the terms."""
    equations = tuple(name for name, term in terms.items() if not (math.isfinite(term.scale) or term.measured))
    return f"sampling=Sampling(every=10, adaptive={equations or tuple(terms) or ('residual',)})"


def _of(names: Sequence[str]) -> str:
    return f" of {' and '.join(map(repr, names))}" if names else ""


def _seconds(stages: Sequence[StageReport]) -> float:
    """The wall time of the stages with compiling; NaN inside jit or vmap."""
    return sum(float(report.seconds) + float(report.seconds_compiling) for report in stages)


def _round(seconds: float) -> int:
    """A time budget of at least a minute, in multiples of ten seconds."""
    return max(60, 10 * math.ceil(seconds / 10)) if math.isfinite(seconds) else 60
