"""Pictures: solutions next to their reference with their errors, histories, sweeps, and Pareto fronts."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.names import one_line
from ..base.storage import atomic
from ..models.grids import grid, reference_values
from ..models.metrics import Metrics, headline
from ..models.model import Model
from ..models.report import StageReport
from ..pde.geometry import Domain, SpaceTime
from ..pde.inside import at_points, holds
from ..pde.problem import Problem
from ..pde.reference_at import PointReference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Points per axis of a picture, and its dots per inch.
_RESOLUTION = 161
_DPI = 130
#: Names of a time axis.
_TIME = {"t", "time", "tau", "τ"}


def solution(
    models: Mapping[str, Model], path: str | os.PathLike[str], *, metrics: Mapping[str, Metrics] | None = None
) -> None:
    """Draw the reference and the models on one colour scale, and the models' errors on another one below.

    One coordinate gives a line and two give a heat map over the domain. More give a heat map over the first two
    coordinates of space, at the final time and at the middle of all other axes. A parametric family is drawn at the
    middle of its ranges. The headline quantity is drawn, or its length if it is a vector. Without a reference only the
    models are drawn. Points outside ``problem.inside`` stay empty, and the boundary of a domain of ``kd.geometry`` is
    drawn.

    Args:
        models: ``{title: model}``, all of one problem.
        path: the picture, conventionally ``*.png``.
        metrics: ``{title: metrics}``, for the relative L2 error in the titles.

    Raises:
        ValueError: no models, or ``problem.inside`` holds nowhere in the picture.
    """
    if not models:
        raise ValueError("plots.solution: models is empty; give at least one")
    first = next(iter(models.values()))
    problem = first.problem
    z, axes = _picture_grid(problem)
    outside = ~holds(problem.inside, z[:, : problem.coordinates])
    if outside.all():
        raise ValueError(
            f"plots.solution: inside of problem {problem.name!r} holds at none of the points of the picture"
            f"{_at(problem)}"
        )
    masked = lambda u: np.where(outside[:, None] | ~np.isfinite(u), np.nan, u)
    values = {title: masked(np.asarray(model(z), np.float64)) for title, model in models.items()}
    errors: dict[str, np.ndarray] = {}
    if problem.reference is not None and not isinstance(problem.reference, PointReference):
        exact = masked(reference_values(problem, first.coefficients, z))
        # The length of the error vector, as in the metrics: a flow of the right speed may have the wrong direction.
        errors = {title: np.abs(_quantity(problem, u - exact)) for title, u in values.items()}
        values = {"reference": exact} | values
    shown = {title: _quantity(problem, u) for title, u in values.items()}
    rows = 2 if errors else 1
    figure = _figure((4.2 * len(shown), 3.4 * rows))
    panels = figure.subplots(rows, len(shown), squeeze=False)
    name = problem.headline[0] if problem.headline else problem.fields[0]
    label = f"|{name}|" if problem.headline and len(problem.headline[1]) > 1 else name
    figure.suptitle(f"{problem.name}: {label}{_at(problem)}")
    _row(figure, panels[0], shown, axes, problem, label=label, cmap="viridis", low=_extreme(np.nanmin, shown.values()))
    if len(axes) == 2 and isinstance(problem.inside, Domain | SpaceTime):
        level = at_points(problem.inside.level, z[:, : problem.coordinates])
        for panel in [*panels[0], *(panels[1][1:] if errors else [])]:
            image = level.reshape(len(axes[0]), len(axes[1])).T
            panel.contour(axes[0], axes[1], image, levels=[0.0], colors="black", linewidths=0.8)
    for title, panel in zip(shown, panels[0], strict=True):
        over = " over the ranges" if problem.family else ""
        error = (
            f", relative L2{over} {metrics[title].relative_l2:.1e}" if metrics and errors and title in metrics else ""
        )
        panel.set_title(_plain(f"{title}{f' {models[title].layers}' if title in models else ''}{error}"), fontsize=9)
    if errors:
        panels[1][0].axis("off")
        _row(figure, panels[1][1:], errors, axes, problem, label=f"|error of {name}|", cmap="magma", low=0.0)
        for title, panel in zip(errors, panels[1][1:], strict=True):
            panel.set_title(_plain(f"error of the {title}"), fontsize=9)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)


def _figure(size: tuple[float, float]) -> "Figure":
    from matplotlib.figure import Figure  # the import takes half a second, and only pictures need it

    return Figure(figsize=size, layout="constrained")


def _plain(text: str) -> str:
    """The name of a file, a term or a stage, with dollar signs escaped, which start mathematics in Matplotlib."""
    return one_line(text, 100).replace("$", r"\$")


def _drawn(problem: Problem) -> list[int]:
    """The one or two axes of a picture. A third coordinate makes the first one a fixed time, if it is a time."""
    first = int(problem.coordinates > 2 and problem.axes[0] in _TIME)
    return list(range(first, min(first + 2, problem.coordinates)))


def _fixed(problem: Problem) -> np.ndarray:
    """The values of the axes that are not drawn: the final time, and the middle of all others.

    For a coefficient with a wide range it is the middle of its logarithm.
    """
    values = [
        float(np.sqrt(a * b)) if i in problem.logarithmic else (a + b) / 2
        for i, (a, b) in enumerate(zip(problem.lower, problem.upper, strict=True))
    ]
    if problem.axes[0] in _TIME:
        values[0] = problem.upper[0]
    return np.array(values)


def _at(problem: Problem) -> str:
    """The values of the fixed axes, for a title."""
    values, drawn = _fixed(problem), _drawn(problem)
    fixed = [
        f"{axis} = {value:.4g}"
        for i, (axis, value) in enumerate(zip(problem.axes, values, strict=True))
        if i not in drawn
    ]
    more = [f"{len(fixed) - 4} more axes at their middle"] if len(fixed) > 4 else []
    return f" at {', '.join([*fixed[:4], *more])}" if fixed else ""


def _picture_grid(problem: Problem) -> tuple[np.ndarray, list[np.ndarray]]:
    """The points of the picture, with the first drawn axis slowest, and the coordinates along the drawn axes."""
    drawn = _drawn(problem)
    lower, upper = (tuple(ends[i] for i in drawn) for ends in (problem.lower, problem.upper))
    plane = grid(lower, upper, _RESOLUTION)
    z = np.tile(_fixed(problem), (len(plane), 1))
    z[:, drawn] = plane
    return z, [np.linspace(a, b, _RESOLUTION) for a, b in zip(lower, upper, strict=True)]


def _extreme(which: Callable[[np.ndarray], float], values: Iterable[np.ndarray]) -> float:
    """The smallest or largest finite value, 0 if there is none."""
    finite = [value for value in values if np.isfinite(value).any()]
    return float(which(np.stack([which(value) for value in finite]))) if finite else 0.0


def _quantity(problem: Problem, u: np.ndarray) -> np.ndarray:
    """The headline quantity of u (n, m), by its length if it is a vector: (n,)."""
    columns = headline(problem)[1]
    return u[:, columns[0]] if len(columns) == 1 else np.linalg.norm(u[:, columns], axis=1)


def _row(
    figure: "Figure",
    panels: Iterable["Axes"],
    values: Mapping[str, np.ndarray],
    axes: list[np.ndarray],
    problem: Problem,
    *,
    label: str,
    cmap: str,
    low: float,
) -> None:
    """Draw one quantity per panel, all on one scale."""
    names = [problem.axes[i] for i in _drawn(problem)]
    high = _extreme(np.nanmax, values.values())
    heat_map: Any = None
    for panel, value in zip(panels, values.values(), strict=True):
        panel.set_xlabel(names[0])
        if len(axes) == 1:
            panel.plot(axes[0], value)
            panel.set_ylim(low, high if high > low else low + 1)
            panel.set_ylabel(label)
        else:
            image = value.reshape(len(axes[0]), len(axes[1])).T
            heat_map = panel.pcolormesh(axes[0], axes[1], image, cmap=cmap, vmin=low, vmax=high, shading="gouraud")
            panel.set_ylabel(names[1])
    if heat_map is not None:
        figure.colorbar(heat_map, ax=list(panels), label=label)


def history(trainings: Mapping[str, Sequence[StageReport]], path: str | os.PathLike[str]) -> None:
    """Draw the mean square of every term, the loss and, if it was recorded, the relative L2 error against the steps.

    Args:
        trainings: ``{title: model.training}``; one panel each, with a vertical line at the start of each stage.
        path: the picture.

    Raises:
        ValueError: no trainings.
    """
    if not trainings:
        raise ValueError("plots.history: trainings is empty; give at least one")
    figure = _figure((6.0 * len(trainings), 4.2))
    panels = figure.subplots(1, len(trainings), squeeze=False, sharey=True)[0]
    for panel, (title, stages) in zip(panels, trainings.items(), strict=True):
        first_step = 0
        colours: dict[str, str] = {}
        for stage in stages:
            for name, values in sorted(stage.history.items(), key=lambda item: (item[0] != "loss", item[0])):
                known = name in colours
                colours.setdefault(name, "black" if name == "relative_l2" else f"C{len(colours)}")
                panel.plot(
                    first_step + np.asarray(stage.record_steps),
                    np.maximum(np.asarray(values), np.finfo(float).tiny),  # zero has no logarithm
                    color=colours[name],
                    linestyle="--" if name == "relative_l2" else "-",
                    linewidth=1.8 if name in ("loss", "relative_l2") else 1.0,
                    label=None if known else {"relative_l2": "relative L2 error"}.get(name, _plain(name)),
                )
            panel.axvline(first_step, color="grey", linewidth=0.6)
            panel.annotate(
                f" {_plain(stage.stage)}", (first_step, 1.0), xycoords=("data", "axes fraction"), va="top", fontsize=8
            )
            first_step += int(stage.steps)
        panel.set_yscale("log")
        panel.set_xlabel("steps")
        panel.set_title(_plain(title))
        if colours:  # a stage that was stopped while it compiled has no records
            panel.legend(fontsize=8, loc="lower left")
        else:
            panel.text(0.5, 0.5, "no step was recorded", ha="center", transform=panel.transAxes)
    panels[0].set_ylabel("mean square of each term; relative L2 error")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)


def sweep(rows: Sequence[Mapping[str, Any]], varied: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Draw the members of a sweep: their error against each quantity that was varied.

    Args:
        rows: the rows of ``kd.sweep_table``, one per member.
        varied: the columns of the varied quantities, one panel each; a line joins the medians.
        path: the picture.

    Raises:
        ValueError: rows or varied is empty.
    """
    if not rows or not varied:
        raise ValueError("plots.sweep: give at least one row and one varied quantity")
    column, label = "fresh_loss", "loss, fresh points"
    if "relative_l2" in rows[0]:
        column, label = "relative_l2", "relative L2 error"
    figure = _figure((4.2 * len(varied), 3.6))
    panels = figure.subplots(1, len(varied), squeeze=False, sharey=True)[0]
    for panel, name in zip(panels, varied, strict=True):
        values = list(dict.fromkeys(row[name] for row in rows))
        numeric = all(isinstance(value, int | float) for value in values)
        positions = (
            {value: value for value in sorted(values)} if numeric else {value: i for i, value in enumerate(values)}
        )
        panel.plot([positions[row[name]] for row in rows], [row[column] for row in rows], ".", color="C0")
        medians = [float(np.nanmedian([row[column] for row in rows if row[name] == value])) for value in positions]
        panel.plot(list(positions.values()), medians, color="C1", label="median")
        if not numeric:
            panel.set_xticks(list(positions.values()), [str(value) for value in positions], rotation=30)
        elif len(values) > 1 and min(values) > 0 and max(values) > 30 * min(values):
            panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlabel(name)
    panels[0].set_ylabel(label)
    panels[0].legend(fontsize=8)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)


def front(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str], *, engine: str, points: int) -> None:
    """Draw the candidates of a search by latency and error, with the Pareto front as a line and the teacher as a star.

    Args:
        rows: the rows of a ``kd.Search``.
        path: the picture.
        engine: what was timed, for the axis label.
        points: points per call, for the axis label.
    """
    figure = _figure((5.6, 4.2))
    panel = figure.subplots()
    for role, style in (("candidate", "."), ("front", "o-"), ("teacher", "*")):
        chosen = sorted((row["ns_per_point"], row["relative_l2"], row["name"]) for row in rows if row["role"] == role)
        if chosen:
            panel.plot([x for x, *_ in chosen], [y for _, y, _ in chosen], style, label=role)
        for x, y, name in chosen if role != "candidate" else ():
            panel.annotate(f" {name}", (x, y), fontsize=7)
    panel.set(xscale="log", yscale="log", xlabel=f"ns per point, {engine}, N = {points}", ylabel="relative L2 error")
    panel.legend(fontsize=8)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)
