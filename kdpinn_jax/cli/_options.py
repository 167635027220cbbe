"""The options that commands share, and checks of the names in them."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ..base.names import nearest
from . import _types as types
from ._outline import Outline
from ._types import Assignment, Choice, Layers, Range, Seconds

if TYPE_CHECKING:
    from ..runs.options import Options

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
#: The values of ``--range`` and of ``--weight`` and ``--coefficient``.
Ranges = tuple[tuple[str, tuple[float, float]], ...]
Assignments = tuple[tuple[str, float], ...]

CONDITIONS = click.option(
    "--conditions",
    type=Choice("conditions", types.CONDITIONS),
    help="Whether initial and boundary conditions are terms of the loss (soft) or built into the network (hard). "
    "Default: the recipe's.",
)
RANGES = click.option(
    "--range",
    "ranges",
    type=Range(),
    multiple=True,
    help="Make a coefficient an input of the network with this range, such as nu=0.005,0.05: one model for all values. "
    "Repeatable.",
)
PROBLEM = click.option(
    "--problem",
    "own",
    type=types.OwnProblem(),
    help="A problem of your own: the Python file that defines it, which is executed, and its name.",
)
PROBLEMS = click.option(
    "--problem",
    "own",
    type=types.OwnProblem(),
    multiple=True,
    help="A problem of your own that a model solves: the Python file that defines it, which is executed, and its name. "
    "Repeatable.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")


def _together(*options: _Decorator) -> _Decorator:
    """All options as one decorator, in this order in ``--help``."""
    return lambda command: functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)


#: The options of long commands, which may have to be resumed.
survival_options = _together(
    click.option("--quiet", is_flag=True, help="Show no progress on stderr."),
    click.option("--resume", is_flag=True, help="Resume from the checkpoint of a run that was stopped or killed."),
    click.option(
        "--checkpoint-every",
        type=Seconds(),
        metavar="SECONDS",
        default=30.0,
        show_default=True,
        help="Time between checkpoints.",
    ),
)


def training_options(network: str) -> _Decorator:
    """The options of every command that trains.

    Args:
        network: what ``--layers`` describes, such as ``"student"``.
    """
    return _together(
        click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Random seed."),
        click.option(
            "--preset",
            type=Choice("preset", types.PRESETS),
            default="default",
            show_default=True,
            help="Amount of training: about 1, 3 or 17 minutes in total on two cores.",
        ),
        click.option(
            "--recipe",
            type=Choice("recipe", types.RECIPES),
            default="default",
            show_default=True,
            help="Training method; paper is the published one: soft conditions, Adam and L-BFGS.",
        ),
        click.option(
            "--layers",
            type=Layers(),
            help=f"Hidden widths of the {network}, such as 20,20,20. Default: the problem's.",
        ),
        click.option(
            "--activation",
            type=Choice("activation", types.ACTIVATIONS),
            help="Activation function. Default: the problem's.",
        ),
        click.option(
            "--weight",
            "weights",
            type=Assignment(),
            multiple=True,
            help="Loss weight of a term, such as initial=10; a student also has the term soft_target. Repeatable.",
        ),
        click.option(
            "--coefficient",
            "coefficients",
            type=Assignment(),
            multiple=True,
            help="Value of a coefficient of the PDE, such as nu=0.01. Repeatable.",
        ),
        click.option(
            "--time-budget",
            type=Seconds(),
            metavar="SECONDS",
            help="Wall time for compiling and training, instead of the preset's time and steps; the run command "
            "divides it between teacher and student.",
        ),
        survival_options,
    )


def check_names(
    outline: Outline,
    *,
    student: bool,
    weights: Assignments,
    coefficients: Assignments,
    conditions: str | None = None,
    recipe: str = "default",
    ranges: Ranges = (),
    **others: Any,
) -> Outline:
    """Check, before JAX is imported, the names of coefficients, ranges and weights in the options.

    Args:
        outline: the outline of the problem.
        student: whether a student is trained, which has soft targets.
        weights: the values of ``--weight``.
        coefficients: the values of ``--coefficient``.
        conditions: the value of ``--conditions``.
        recipe: the value of ``--recipe``.
        ranges: the values of ``--range``.
        others: other options, which are ignored.

    Returns:
        The outline with the conditions and the ranges of the options.

    Raises:
        click.BadParameter: an option names an unknown coefficient or term, or one that it cannot set.
    """
    if conditions == "hard" and not outline.enforced:
        raise click.BadParameter(
            f"--conditions hard: problem {outline.name!r} has no ansatz for hard conditions; use --conditions soft"
        )
    outline = outline.with_conditions(conditions or ("soft" if recipe == "paper" else None))
    names = tuple(name for name, _ in ranges)
    for name in names:
        if names.count(name) > 1:
            raise click.BadParameter(f"range {name!r} is given twice; give each range once")
        if name not in outline.coefficients:
            guess = nearest(name, outline.coefficients)
            raise click.BadParameter(f"range: coefficient {name!r} is unknown to problem {outline.name!r}{guess}")
    outline = outline.parametric(names)
    known = outline.weights(student)
    for name, number in weights:
        if name in outline.enforced:
            raise click.BadParameter(
                f"weight {name!r}: hard conditions satisfy this term, so training leaves it out; use --conditions soft"
            )
        if name not in known:
            raise click.BadParameter(f"weight {name!r} is unknown to problem {outline.name!r}{nearest(name, known)}")
        if number < 0:
            raise click.BadParameter(f"weight {name}={number} must not be negative")
    for name, _ in coefficients:
        if name in outline.family:
            raise click.BadParameter(
                f"coefficient {name!r} is an input of this model and has a range; remove --coefficient {name}"
            )
        if name not in outline.coefficients:
            guess = nearest(name, outline.coefficients)
            raise click.BadParameter(f"coefficient {name!r} is unknown to problem {outline.name!r}{guess}")
    return outline


def make_options(
    weights: Assignments = (),
    coefficients: Assignments = (),
    quiet: bool = False,
    ranges: Ranges = (),  # the problem has them
    **others: Any,
) -> "Options":
    """The options as one value."""
    from ..runs.options import Options

    progress = False if quiet else None
    return Options(weights=dict(weights), coefficients=dict(coefficients), progress=progress, **others)
