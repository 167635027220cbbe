"""The options commands share, and the checks that turn a user's mistake into one line and an exit code."""

import math
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import jax

from ._names import nearest
from ._network import ACTIVATIONS
from ._problem import Problem
from ._recipes import PRESETS, RECIPES
from ._run import Options
from .problems import ALL

#: Wider or deeper networks than these are a slip of the keyboard, and would exhaust the memory before failing.
WIDEST, DEEPEST = 4096, 64


class Commands(click.Group):
    """A group whose commands end in one line and an exit code; a traceback is shown only where ``--debug`` asks."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            error.ctx = None  # click would print two lines of usage before the one that says what is wrong
            raise
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BaseException as error:
            if ctx.params.get("debug") or isinstance(error, SystemExit | GeneratorExit):
                raise
            line = " ".join(str(error).split()) or type(error).__name__
            if isinstance(error, KeyboardInterrupt):
                raise click.ClickException(f"interrupted ({line}); what was finished is kept") from None
            if isinstance(error, BrokenPipeError):  # whoever read our output has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise click.exceptions.Exit(1) from None
            if isinstance(error, ValueError) and type(error) is ValueError:
                raise click.UsageError(line) from None
            if isinstance(error, ValueError | OSError | RuntimeError | MemoryError):
                raise click.ClickException(line) from None
            raise


class _Number(click.ParamType):
    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or number <= 0:
            self.fail(f"{value!r} is not a positive number of seconds", param, ctx)
        return number


class _Assignment(click.ParamType):
    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (name and equals and math.isfinite(number)):
            self.fail(f"{value!r} is not NAME=VALUE with a finite number, such as nu=0.01", param, ctx)
        return name.strip(), number


class Layers(click.ParamType):
    name = "WIDTHS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isascii() and part.isdigit() and 1 <= len(part) <= 6 for part in parts):
            self.fail(f"{value!r} is not a list of hidden widths such as 20,20,20", param, ctx)
        widths = tuple(map(int, parts))
        if len(widths) > DEEPEST or not all(1 <= width <= WIDEST for width in widths):
            self.fail(f"{value!r}: give 1 to {DEEPEST} hidden layers of 1 to {WIDEST} neurons", param, ctx)
        return widths


class _ProblemName(click.ParamType):
    name = "problem"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Problem:
        if value not in ALL:
            self.fail(f"problem {value!r} is unknown{nearest(value, ALL)}", param, ctx)
        return ALL[value]


class _Word(click.ParamType):
    """One of a few words; the nearest right one is named."""

    def __init__(self, name: str, words: tuple[str, ...]) -> None:
        self.name, self.words = name, words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.words:
            self.fail(f"{self.name} {value!r} is unknown{nearest(str(value), self.words)}", param, ctx)
        return value

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "|".join(self.words)


PROBLEM = _ProblemName()

_TRAINING = [
    click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Random seed."),
    click.option(
        "--preset",
        type=_Word("preset", PRESETS),
        default="default",
        show_default=True,
        help="How long to train: about 1, 4 or 11 minutes in all on two cores.",
    ),
    click.option(
        "--recipe",
        type=_Word("recipe", RECIPES),
        default="default",
        show_default=True,
        help="paper: soft conditions, Adam then L-BFGS, as published.",
    ),
    click.option("--layers", type=Layers(), help="Hidden widths, such as 20,20,20 (of the student, for run)."),
    click.option("--activation", type=_Word("activation", tuple(ACTIVATIONS)), help="Default: the problem's."),
    click.option("--weight", "weights", type=_Assignment(), multiple=True, help="A term's weight; repeatable."),
    click.option("--coefficient", "coefficients", type=_Assignment(), multiple=True, help="Repeatable."),
    click.option("--time-budget", type=_Number(), metavar="SECONDS", help="Wall time for all training, compiling too."),
    click.option("--quiet", is_flag=True, help="No progress on stderr."),
]
CONDITIONS = click.option("--conditions", type=_Word("conditions", ("soft", "hard")), help="Default: the recipe's.")
JSON = click.option("--json", "as_json", is_flag=True, help="JSON on stdout, for machines.")


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that trains."""
    for option in reversed(_TRAINING):
        command = option(command)
    return command


def collected(
    problem: Problem,
    weights: tuple[tuple[str, float], ...],
    coefficients: tuple[tuple[str, float], ...],
    *,
    student: bool,
    quiet: bool,
    **chosen: Any,
) -> Options:
    """The options as one value, with names checked before any training; a student alone has soft targets."""
    weighted, known = dict(weights), [*problem.terms, *(["soft_target"] if student else [])]
    for name, value in weighted.items():
        if name not in known:
            raise click.BadParameter(f"weight {name!r} is unknown to {problem.name!r}{nearest(name, known)}")
        if value < 0:
            raise click.BadParameter(f"weight {name}={value} must not be negative")
    for name in dict(coefficients):
        if name not in problem.coefficients:
            guess = nearest(name, problem.coefficients)
            raise click.BadParameter(f"coefficient {name!r} is unknown to {problem.name!r}{guess}")
    progress = False if quiet else None
    return Options(weights=weighted, coefficients=dict(coefficients), progress=progress, **chosen)


def check_file(path: Path) -> None:
    """Fail before any work if ``path`` cannot become a file."""
    if path.is_dir():
        raise click.ClickException(f"{path} is a folder; name a file in it")
    _check_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make the folder, or fail before any work."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"cannot make the folder {path}: {error.strerror}; name another one") from None
    _check_folder(path)


def _check_folder(folder: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise click.ClickException(f"cannot write into {folder}: {error.strerror}; name another folder") from None


def set_up_jax() -> None:
    """The command line's own settings: train in float64, and keep compiled programs for the next run."""
    jax.config.update("jax_enable_x64", True)
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kdpinn_jax"
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError:
            return  # a read-only home: every run compiles
        jax.config.update("jax_compilation_cache_dir", str(cache))
