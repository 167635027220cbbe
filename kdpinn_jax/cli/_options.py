"""The options commands share, and what they mean together: names are checked before any work."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from ..base.names import nearest
from ._types import Assignment, Layers, Range, Seconds, Word, activations, presets, recipes

if TYPE_CHECKING:
    from ..pde.problem import Problem
    from ..runs.result import Options


_SURVIVAL = [
    click.option("--quiet", is_flag=True, help="No progress on stderr."),
    click.option("--resume", is_flag=True, help="Go on from the checkpoint of a run that was stopped or killed."),
    click.option(
        "--checkpoint-every",
        type=Seconds(),
        metavar="SECONDS",
        default=30.0,
        show_default=True,
        help="Between two checkpoints.",
    ),
]
_TRAINING = [
    click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Random seed."),
    click.option(
        "--preset",
        type=Word("preset", presets),
        metavar="quick|default|best",
        default="default",
        show_default=True,
        help="How long to train: about 1, 3 or 17 minutes in all on two cores.",
    ),
    click.option(
        "--recipe",
        type=Word("recipe", recipes),
        metavar="default|paper",
        default="default",
        show_default=True,
        help="paper: soft conditions, Adam then L-BFGS, as published.",
    ),
    click.option("--layers", type=Layers(), help="Hidden widths, such as 20,20,20 (of the student, for run)."),
    click.option(
        "--activation",
        type=Word("activation", activations),
        metavar="tanh|silu|sine",
        help="Default: the problem's.",
    ),
    click.option(
        "--weight",
        "weights",
        type=Assignment(),
        multiple=True,
        help="A term's weight in the loss, such as initial=10; of the student, soft_target too. Repeatable.",
    ),
    click.option(
        "--coefficient",
        "coefficients",
        type=Assignment(),
        multiple=True,
        help="A coefficient of the PDE, such as nu=0.01. Repeatable.",
    ),
    click.option(
        "--time-budget",
        type=Seconds(),
        metavar="SECONDS",
        help="Wall time for all training, compiling too, in place of the preset's; run shares it out.",
    ),
    *_SURVIVAL,
]
CONDITIONS = click.option(
    "--conditions",
    type=Word("conditions", lambda: ("soft", "hard")),
    metavar="soft|hard",
    help="Initial and boundary conditions as terms of the loss, or built into the network. Default: the recipe's.",
)
RANGES = click.option(
    "--range",
    "ranges",
    type=Range(),
    multiple=True,
    help="A coefficient that becomes an input, and its range, such as nu=0.005,0.05: one model for all. Repeatable.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="JSON on stdout, for machines.")


def _together(options: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
    """All of them as one decorator, in this order in ``--help``."""
    return lambda command: functools.reduce(lambda made, option: option(made), reversed(options), command)


#: The options of what takes long, and may have to go on after its process died; and those of every command that trains.
survival_options, training_options = _together(_SURVIVAL), _together(_TRAINING)


def of_family(problem: "Problem", ranges: tuple[tuple[str, tuple[float, float]], ...]) -> "Problem":
    """The problem, or the parametric one where there are ranges."""
    from ..pde.parametric import parametric

    names = [name for name, _ in ranges]
    for name in names:
        if names.count(name) > 1:
            raise click.BadParameter(f"range {name!r} is given twice")
        if name not in problem.coefficients:
            guess = nearest(name, problem.coefficients)
            raise click.BadParameter(f"range: coefficient {name!r} is unknown to {problem.name!r}{guess}")
    return parametric(problem, **dict(ranges)) if ranges else problem


def collected(
    problem: "Problem",
    weights: tuple[tuple[str, float], ...],
    coefficients: tuple[tuple[str, float], ...],
    *,
    student: bool,
    quiet: bool,
    **chosen: Any,
) -> "Options":
    """The options as one value, with names checked before any training; a student alone has soft targets."""
    from ..runs.result import Options

    progress = False if quiet else None
    options = Options(weights=dict(weights), coefficients=dict(coefficients), progress=progress, **chosen)
    try:
        problem = options.applied_to(problem)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    known = [*(name for name in problem.terms if name not in problem.enforced), *(["soft_target"] if student else [])]
    for name, value in options.weights.items():
        if name in problem.enforced:
            raise click.BadParameter(
                f"weight {name!r}: hard conditions satisfy this term, and training leaves it out; use --conditions soft"
            )
        if name not in known:
            raise click.BadParameter(f"weight {name!r} is unknown to {problem.name!r}{nearest(name, known)}")
        if value < 0:
            raise click.BadParameter(f"weight {name}={value} must not be negative")
    for name in options.coefficients:
        if name in problem.family:
            raise click.BadParameter(f"coefficient {name!r} is an input of this model, with a range; leave it out")
        if name not in problem.coefficients:
            guess = nearest(name, problem.coefficients)
            raise click.BadParameter(f"coefficient {name!r} is unknown to {problem.name!r}{guess}")
    return options
