"""The options that commands share, and checks of the names in them."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from ..base.names import nearest
from . import _types as types
from ._outline import Outline
from ._types import Assignment, Layers, Range, Seconds, Word

if TYPE_CHECKING:
    from ..pde.problem import Problem
    from ..runs.options import Options


_SURVIVAL = [
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
]
_TRAINING = [
    click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Random seed."),
    click.option(
        "--preset",
        type=Word("preset", types.PRESETS),
        metavar="quick|default|best",
        default="default",
        show_default=True,
        help="Training time: about 1, 3 or 17 minutes in total on two cores.",
    ),
    click.option(
        "--recipe",
        type=Word("recipe", types.RECIPES),
        metavar="default|paper",
        default="default",
        show_default=True,
        help="paper: the published method, soft conditions with Adam and L-BFGS.",
    ),
    click.option("--layers", type=Layers(), help="Hidden widths, such as 20,20,20; for run, those of the student."),
    click.option(
        "--activation",
        type=Word("activation", types.ACTIVATIONS),
        metavar="tanh|silu|sine",
        help="Default: the problem's.",
    ),
    click.option(
        "--weight",
        "weights",
        type=Assignment(),
        multiple=True,
        help="Weight of a term in the loss, such as initial=10; a student also has soft_target. Repeatable.",
    ),
    click.option(
        "--coefficient",
        "coefficients",
        type=Assignment(),
        multiple=True,
        help="Coefficient of the PDE, such as nu=0.01. Repeatable.",
    ),
    click.option(
        "--time-budget",
        type=Seconds(),
        metavar="SECONDS",
        help="Wall time for training and compiling, instead of the preset's; run divides it between teacher and student.",
    ),
    *_SURVIVAL,
]
CONDITIONS = click.option(
    "--conditions",
    type=Word("conditions", types.CONDITIONS),
    metavar="soft|hard",
    help="Initial and boundary conditions as terms of the loss (soft) or built into the network (hard). Default: the recipe's.",
)
RANGES = click.option(
    "--range",
    "ranges",
    type=Range(),
    multiple=True,
    help="Make a coefficient an input with this range, such as nu=0.005,0.05: one model for all values. Repeatable.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _together(options: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
    """All options as one decorator, in this order in ``--help``."""
    return lambda command: functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)


#: The options of long commands, which may have to resume after their process died, and those of every command that trains.
survival_options, training_options = _together(_SURVIVAL), _together(_TRAINING)


Ranges = tuple[tuple[str, tuple[float, float]], ...]
Assignments = tuple[tuple[str, float], ...]


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
    """Fail, before JAX is imported, if an option names an unknown coefficient, range or weight.

    Args:
        outline: of the problem.
        student: whether a student is trained, which has soft targets.
        weights, coefficients, conditions, recipe, ranges: the options with these names.

    Returns:
        The outline with the conditions and the ranges of the options.
    """
    if conditions == "hard" and not outline.enforced:
        raise click.BadParameter(f"conditions 'hard': problem {outline.name!r} has no ansatz; use soft conditions")
    outline = outline.with_conditions(conditions or ("soft" if recipe == "paper" else None))
    names = tuple(name for name, _ in ranges)
    for name in names:
        if names.count(name) > 1:
            raise click.BadParameter(f"range {name!r} is given twice")
        if name not in outline.coefficients:
            guess = nearest(name, outline.coefficients)
            raise click.BadParameter(f"range: coefficient {name!r} is unknown to {outline.name!r}{guess}")
    outline = outline.parametric(names)
    known = outline.weights(student)
    for name, number in weights:
        if name in outline.enforced:
            raise click.BadParameter(
                f"weight {name!r}: hard conditions satisfy this term, and training leaves it out; use --conditions soft"
            )
        if name not in known:
            raise click.BadParameter(f"weight {name!r} is unknown to {outline.name!r}{nearest(name, known)}")
        if number < 0:
            raise click.BadParameter(f"weight {name}={number} must not be negative")
    for name, _ in coefficients:
        if name in outline.family:
            raise click.BadParameter(f"coefficient {name!r} is an input of this model, with a range; leave it out")
        if name not in outline.coefficients:
            guess = nearest(name, outline.coefficients)
            raise click.BadParameter(f"coefficient {name!r} is unknown to {outline.name!r}{guess}")
    return outline


def make_options(
    weights: Assignments = (), coefficients: Assignments = (), quiet: bool = False, **others: Any
) -> "Options":
    """The options as one value."""
    from ..runs.options import Options

    progress = False if quiet else None
    return Options(weights=dict(weights), coefficients=dict(coefficients), progress=progress, **others)


def shipped_problem(name: str, ranges: Ranges = ()) -> "Problem":
    """The problem, or the parametric one if there are ranges."""
    from ..pde.parametric import parametric
    from ..problems import ALL

    return parametric(ALL[name], **dict(ranges)) if ranges else ALL[name]
