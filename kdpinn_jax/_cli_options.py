"""The options commands share, and the checks that turn a user's mistake into one line and an exit code.

What needs JAX is imported where it is used, after a command's own options are known to be right.
"""

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._cli_types import PROBLEM as PROBLEM
from ._cli_types import Assignment, Layers, Range, Seconds, activations, presets, recipes
from ._cli_types import Positive as Positive
from ._cli_types import Sizes as Sizes
from ._cli_types import Vary as Vary
from ._cli_types import Word as Word
from ._cli_types import Words as Words
from ._cli_types import engines as engines
from ._cli_types import formats as formats
from ._cli_types import methods as methods
from ._names import nearest, one_line

if TYPE_CHECKING:
    from ._problem import Problem
    from ._result import Options


def _in_one_line(error: click.ClickException) -> click.ClickException:
    """The same, without the two lines of usage that click prints first, and with nothing that acts on a terminal."""
    kind = click.UsageError if isinstance(error, click.UsageError) else click.ClickException
    return kind(one_line(error.format_message(), 2000))


class Commands(click.Group):
    """A group whose commands end in one line and an exit code; a traceback is shown only where ``--debug`` asks."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(*args, **extra)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.ClickException as error:
            raise _in_one_line(error) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.ClickException as error:
            raise _in_one_line(error) from None
        except (click.exceptions.Exit, click.Abort):
            raise
        except BaseException as error:
            if ctx.params.get("debug") or isinstance(error, SystemExit | GeneratorExit):
                raise
            line = one_line(error, 2000) or type(error).__name__
            if isinstance(error, KeyboardInterrupt):
                line = line if str(error) else "interrupted; the files finished so far are kept"
                raise click.ClickException(line) from None
            if isinstance(error, BrokenPipeError):  # whoever read our output has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise click.exceptions.Exit(1) from None
            if isinstance(error, ValueError | ArithmeticError | OSError | RuntimeError | MemoryError | ImportError):
                raise click.ClickException(line) from None
            raise


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


def say(message: str) -> None:
    """A line on stderr."""
    click.echo(message, err=True)


def print_json(content: Any) -> None:
    """JSON on stdout."""
    from ._result import as_json

    click.echo(as_json(content))


def survival_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of what takes long, and may have to go on after its process died."""
    for option in reversed(_SURVIVAL):
        command = option(command)
    return command


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that trains."""
    for option in reversed(_TRAINING):
        command = option(command)
    return command


def of_family(problem: "Problem", ranges: tuple[tuple[str, tuple[float, float]], ...]) -> "Problem":
    """The problem, or the parametric one where there are ranges."""
    from ._parametric import parametric

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
    from ._result import Options

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


def check_file(path: Path, *inputs: Path, endings: tuple[str, ...] = ()) -> None:
    """Fail before any work if ``path`` cannot become a file, has none of the endings, or is one of the inputs."""
    if path.is_dir():
        raise click.ClickException(f"{path} is a folder; name a file in it")
    if path.exists() and not path.is_file():
        raise click.ClickException(f"{path} is not a regular file; name another one")
    if endings and path.suffix.lower() not in endings:
        raise click.BadParameter(f"{path}: the ending {path.suffix!r} is unknown; use {' or '.join(endings)}")
    if path.exists() and any(other.exists() and path.samefile(other) for other in inputs):
        raise click.BadParameter(f"{path} is also what is read; name another file to write")
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


def print_anything() -> None:
    """A file's name need not be text, nor a terminal know the letters: such a character is printed as its number."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def set_up_jax() -> None:
    """The command line's own settings: train in float64, and keep compiled programs for the next run."""
    import jax

    jax.config.update("jax_enable_x64", True)
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kdpinn_jax"
        cache.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # a read-only home, or none: every run compiles
        return
    if os.access(cache, os.W_OK | os.X_OK):
        jax.config.update("jax_compilation_cache_dir", str(cache))


def use_cores(count: int | None) -> None:
    """Let JAX take each core for a device; ``count`` of them, default all this process may use."""
    import jax

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(RuntimeError):  # JAX has begun, in a caller's process: it keeps the devices it has
        jax.config.update("jax_num_cpu_devices", count or cores)


def join_processes() -> None:
    """One program in several processes: JAX finds out from its surroundings how many they are, and which this is."""
    import jax

    try:
        jax.distributed.initialize()
    except (ValueError, RuntimeError) as error:
        raise click.ClickException(f"--distributed: {error}; start it by srun, mpirun or on a TPU pod") from None


def is_first_process() -> bool:
    """Whether this process is the one that speaks."""
    import jax

    return jax.process_index() == 0
