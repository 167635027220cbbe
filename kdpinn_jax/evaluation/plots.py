"""Pictures: solutions beside their reference with errors on one scale, and the history of a training."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.names import one_line
from ..base.storage import atomic
from ..models.grids import grid, reference_values
from ..models.metrics import Metrics
from ..models.model import Model
from ..models.report import StageReport
from ..pde.problem import Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Points per axis of a picture.
_RESOLUTION = 161
_DPI = 130


def solution(
    models: Mapping[str, Model], path: str | os.PathLike[str], *, metrics: Mapping[str, Metrics] | None = None
) -> None:
    """Draw the reference and each model on one colour scale, and below it each model's error, on one scale of its own.

    Two coordinates make a heat map over the domain, three (t, x, y) one at the final time, one a line. A family is
    drawn at the middle of its ranges. Of several fields the problem's headline is drawn, a vector by its length.
    Without a reference only the models are drawn.

    Args:
        models: ``{title: model}``, all of one problem.
        path: the picture, by custom ``*.png``.
        metrics: ``{title: metrics}``, for the relative L2 error in the titles.

    Raises:
        ValueError: no model, or a problem of more than three coordinates.
    """
    if not models:
        raise ValueError("plots.solution: models is empty; give at least one")
    first = next(iter(models.values()))
    problem, d = first.problem, first.problem.coordinates
    if d > 3:
        raise ValueError(f"plots.solution: problem {problem.name!r} has {d} coordinates; up to three can be drawn")
    z, axes = _picture_grid(problem)
    values = {title: np.asarray(model(z), np.float64) for title, model in models.items()}
    wrong: dict[str, np.ndarray] = {}
    if problem.reference is not None:
        exact = reference_values(problem, first.coefficients, z)
        # Of a vector the length of its error, as in the metrics: a flow of the right speed may run the wrong way.
        wrong = {title: np.abs(_quantity(problem, u - exact)) for title, u in values.items()}
        values = {"reference": exact} | values
    shown = {title: _quantity(problem, u) for title, u in values.items()}
    rows = 2 if wrong else 1
    figure = _figure((4.2 * len(shown), 3.4 * rows))
    panels = figure.subplots(rows, len(shown), squeeze=False)
    name = problem.headline[0] if problem.headline else problem.fields[0]
    label = f"|{name}|" if problem.headline and len(problem.headline[1]) > 1 else name
    fixed = {problem.axes[0]: problem.upper[0]} if d == 3 else {}
    fixed |= zip(problem.family, _middle(problem), strict=True)
    at = f" at {', '.join(f'{axis} = {value:.4g}' for axis, value in fixed.items())}" if fixed else ""
    figure.suptitle(f"{problem.name}: {label}{at}")
    _row(figure, panels[0], shown, axes, problem, label=label, cmap="viridis", low=min(map(np.nanmin, shown.values())))
    for title, panel in zip(shown, panels[0], strict=True):
        over = " over the ranges" if problem.family else ""
        error = (
            f", relative L2{over} {metrics[title].relative_l2:.1e}" if metrics and wrong and title in metrics else ""
        )
        panel.set_title(_plain(f"{title}{f' {models[title].layers}' if title in models else ''}{error}"), fontsize=9)
    if wrong:
        panels[1][0].axis("off")
        _row(figure, panels[1][1:], wrong, axes, problem, label=f"|error of {name}|", cmap="magma", low=0.0)
        for title, panel in zip(wrong, panels[1][1:], strict=True):
            panel.set_title(_plain(f"error of the {title}"), fontsize=9)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)


def _figure(size: tuple[float, float]) -> "Figure":
    from matplotlib.figure import Figure  # half a second of imports that only a picture needs

    return Figure(figsize=size, layout="constrained")


def _plain(text: str) -> str:
    """A name of a file, a term or a stage as it is: between dollar signs Matplotlib would read mathematics."""
    return one_line(text, 100).replace("$", r"\$")


def _picture_grid(problem: Problem) -> tuple[np.ndarray, list[np.ndarray]]:
    """The points of the picture, first drawn axis slowest, and the drawn axes."""
    drawn = slice(1 if problem.coordinates == 3 else 0, problem.coordinates)
    lower, upper = problem.lower[drawn], problem.upper[drawn]
    z = grid(lower, upper, _RESOLUTION)
    before, behind = problem.upper[: drawn.start], _middle(problem)
    z = np.concatenate([np.tile(before, (len(z), 1)), z, np.tile(behind, (len(z), 1))], axis=1)
    return z, [np.linspace(a, b, _RESOLUTION) for a, b in zip(lower, upper, strict=True)]


def _middle(problem: Problem) -> tuple[float, ...]:
    """The coefficients in the middle of a family's ranges, of a wide one by its logarithm."""
    ends = enumerate(zip(problem.lower, problem.upper, strict=True))
    return tuple(
        float(np.sqrt(a * b)) if i in problem.logarithmic else (a + b) / 2
        for i, (a, b) in ends
        if i >= problem.coordinates
    )


def _quantity(problem: Problem, u: np.ndarray) -> np.ndarray:
    members = problem.headline[1] if problem.headline else problem.fields[:1]
    columns = [problem.fields.index(member) for member in members]
    return u[:, columns[0]] if len(columns) == 1 else np.linalg.norm(u[:, columns], axis=1)


def _row(
    figure: "Figure",
    panels: Iterable[Any],
    values: Mapping[str, np.ndarray],
    axes: list[np.ndarray],
    problem: Problem,
    *,
    label: str,
    cmap: str,
    low: float,
) -> None:
    names = problem.axes[problem.coordinates - len(axes) : problem.coordinates]
    high = max(map(np.nanmax, values.values()))
    drawn: Any = None
    for panel, value in zip(panels, values.values(), strict=True):
        panel.set_xlabel(names[0])
        if len(axes) == 1:
            panel.plot(axes[0], value)
            panel.set_ylim(low, high if high > low else low + 1)
            panel.set_ylabel(label)
        else:
            image = value.reshape(len(axes[0]), len(axes[1])).T
            drawn = panel.pcolormesh(axes[0], axes[1], image, cmap=cmap, vmin=low, vmax=high, shading="gouraud")
            panel.set_ylabel(names[1])
    if drawn is not None:
        figure.colorbar(drawn, ax=list(panels), label=label)


def history(trainings: Mapping[str, Sequence[StageReport]], path: str | os.PathLike[str]) -> None:
    """Draw the mean square of every term, the loss, and the relative L2 error where it was watched, against steps.

    Args:
        trainings: ``{title: model.training}``; a panel each, stages one after the other, a line where one begins.
        path: the picture.

    Raises:
        ValueError: nothing to draw.
    """
    if not trainings:
        raise ValueError("plots.history: trainings is empty; give at least one")
    figure = _figure((6.0 * len(trainings), 4.2))
    panels = figure.subplots(1, len(trainings), squeeze=False, sharey=True)[0]
    for panel, (title, stages) in zip(panels, trainings.items(), strict=True):
        begun = 0
        colours: dict[str, str] = {}
        for stage in stages:
            for name, values in sorted(stage.history.items(), key=lambda item: (item[0] != "loss", item[0])):
                known = name in colours
                colours.setdefault(name, "black" if name == "relative_l2" else f"C{len(colours)}")
                panel.plot(
                    begun + np.asarray(stage.record_steps),
                    np.maximum(np.asarray(values), np.finfo(float).tiny),  # a term that is exactly 0 has no logarithm
                    color=colours[name],
                    linestyle="--" if name == "relative_l2" else "-",
                    linewidth=1.8 if name in ("loss", "relative_l2") else 1.0,
                    label=None if known else {"relative_l2": "relative L2 error"}.get(name, _plain(name)),
                )
            panel.axvline(begun, color="grey", linewidth=0.6)
            panel.annotate(
                f" {_plain(stage.stage)}", (begun, 1.0), xycoords=("data", "axes fraction"), va="top", fontsize=8
            )
            begun += int(stage.steps)
        panel.set_yscale("log")
        panel.set_xlabel("steps")
        panel.set_title(_plain(title))
        if colours:  # a stage that was stopped while it was compiled has nothing to show
            panel.legend(fontsize=8, loc="lower left")
        else:
            panel.text(0.5, 0.5, "no step was recorded", ha="center", transform=panel.transAxes)
    panels[0].set_ylabel("mean square of each term; relative L2 error")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)


def sweep(rows: Sequence[Mapping[str, Any]], varied: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Draw the members of a sweep: their error against each quantity that was varied.

    Args:
        rows: of ``kd.table``, a member each.
        varied: the columns to draw against, a panel each; the line joins the medians.
        path: the picture.

    Raises:
        ValueError: nothing to draw.
    """
    if not rows or not varied:
        raise ValueError("plots.sweep: give at least one row and one quantity that was varied")
    by, label = (
        ("relative_l2", "relative L2 error") if "relative_l2" in rows[0] else ("fresh_loss", "loss, fresh points")
    )
    figure = _figure((4.2 * len(varied), 3.6))
    panels = figure.subplots(1, len(varied), squeeze=False, sharey=True)[0]
    for panel, name in zip(panels, varied, strict=True):
        values = list(dict.fromkeys(row[name] for row in rows))
        numbers = all(isinstance(value, int | float) for value in values)
        places = {
            value: value if numbers else place for place, value in enumerate(sorted(values) if numbers else values)
        }
        panel.plot([places[row[name]] for row in rows], [row[by] for row in rows], ".", color="C0")
        medians = [float(np.nanmedian([row[by] for row in rows if row[name] == value])) for value in places]
        panel.plot(list(places.values()), medians, color="C1", label="median")
        if not numbers:
            panel.set_xticks(list(places.values()), [str(value) for value in places], rotation=30)
        elif len(values) > 1 and min(values) > 0 and max(values) > 30 * min(values):
            panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlabel(name)
    panels[0].set_ylabel(label)
    panels[0].legend(fontsize=8)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)


def front(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str], *, engine: str, points: int) -> None:
    """Draw candidates of a search by their latency and error, the Pareto front as a line, the teacher as a star.

    Args:
        rows: of ``kd.search``'s result: ``ns_per_point``, ``relative_l2``, ``role`` (``"teacher"``, ``"front"``,
            ``"candidate"``).
        path: the picture. engine, points: what was timed, for the axis.
    """
    figure = _figure((5.6, 4.2))
    panel = figure.subplots()
    for role, style in (("candidate", "."), ("front", "o-"), ("teacher", "*")):
        chosen = sorted((row["ns_per_point"], row["relative_l2"], row["name"]) for row in rows if row["role"] == role)
        if chosen:
            panel.plot([x for x, *_ in chosen], [y for _, y, _ in chosen], style, label=role)
        for x, y, name in chosen if role != "candidate" else ():
            panel.annotate(f" {name}", (x, y), fontsize=7)
    panel.set(xscale="log", yscale="log", xlabel=f"ns a point, {engine}, N = {points}", ylabel="relative L2 error")
    panel.legend(fontsize=8)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)
