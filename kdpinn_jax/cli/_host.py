"""The process of a command: one-line errors with an exit code, streams, files, and JAX with its devices.

JAX is imported only within functions, which are called after a command's own options have been checked.
"""

import contextlib
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from ..base.names import one_line
from ..base.problem_file import ProblemFile, place_of


def _in_one_line(error: click.ClickException) -> click.ClickException:
    """The same error as one printable line, without the two lines of usage that click prints first."""
    kind = click.UsageError if isinstance(error, click.UsageError) else click.ClickException
    return kind(one_line(error.format_message(), 2000))


#: The key of the files of ``--problem`` in the context of click.
_OWN = f"{__name__}.own"


@contextlib.contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print every warning of the block once on stderr, as one line without the line of the source that gave it."""
    shown: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        line = f"warning: {one_line(str(message), 2000)}"
        if line not in shown:
            shown.add(line)
            say(line)

    with warnings.catch_warnings():
        warnings.showwarning = show
        warnings.simplefilter("always", RuntimeWarning)
        yield


def report_lines_of(sources: Sequence[ProblemFile]) -> None:
    """Report an error that is raised in one of these files with its line, whatever its type is."""
    click.get_current_context().meta[_OWN] = tuple(sources)


def _place_in_own_code(error: BaseException, ctx: click.Context) -> str | None:
    """Where the user's code raised an error of a type that the library does not raise."""
    if not isinstance(error, Exception):
        return None
    places = (place_of(error, source) for source in ctx.meta.get(_OWN, ()))
    return next((place for place in places if place), None)


class Commands(click.Group):
    """A group whose commands report an error in one line and an exit code; ``--debug`` shows the traceback instead."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(*args, **extra)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.ClickException as error:
            raise _in_one_line(error) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _warnings_as_lines():
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
                line = line if str(error) else "interrupted; the files completed so far are kept"
                raise click.ClickException(line) from None
            if isinstance(error, BrokenPipeError):  # the program that read stdout has closed it
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise click.exceptions.Exit(1) from None
            if isinstance(error, ValueError | ArithmeticError | OSError | RuntimeError | MemoryError | ImportError):
                raise click.ClickException(line) from None
            if place := _place_in_own_code(error, ctx):
                raise click.ClickException(f"{place}: {type(error).__name__}: {line}") from None
            raise


def say(message: str) -> None:
    """Print a line on stderr."""
    click.echo(message, err=True)


def warn(message: str) -> None:
    """Print a warning on stderr, as those of the library are."""
    warnings.warn(message, RuntimeWarning, stacklevel=2)


def print_json(content: Any) -> None:
    """Print JSON on stdout."""
    from ..base.storage import as_json

    click.echo(as_json(content))


def check_file(path: Path, *inputs: Path, extensions: tuple[str, ...] = ()) -> None:
    """Check before any work that an output file can be written.

    Args:
        path: the output file.
        inputs: the files that the command reads, which must not be overwritten.
        extensions: the permitted file extensions; empty permits all.

    Raises:
        click.BadParameter: ``path`` has another extension, or is one of the inputs.
        click.ClickException: ``path`` is a folder or a device, or its folder is not writable.
    """
    if path.is_dir():
        raise click.ClickException(f"{path} is a folder; give the name of a file")
    if path.exists() and not path.is_file():
        raise click.ClickException(f"{path} is not a regular file; choose another name")
    if extensions and path.suffix.lower() not in extensions:
        raise click.BadParameter(f"{path}: unknown file extension {path.suffix!r}; use {' or '.join(extensions)}")
    if path.exists() and any(other.exists() and path.samefile(other) for other in inputs):
        raise click.BadParameter(f"{path} is also an input file; choose another output file")
    _check_folder(path.parent)


def make_folder(path: Path) -> None:
    """Create the folder if necessary, and check before any work that it is writable.

    Raises:
        click.ClickException: the folder cannot be created or is not writable.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(
            f"cannot create the folder {path}: {error.strerror}; choose another folder"
        ) from None
    _check_folder(path)


def _check_folder(folder: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise click.ClickException(f"cannot write into {folder}: {error.strerror}; choose another folder") from None


def escape_unencodable() -> None:
    """Let stdout print characters that it cannot encode as escapes: a file name may contain any bytes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def set_up_jax() -> None:
    """Apply the settings of the command line: train in float64, and keep compiled programs for later runs."""
    import jax

    jax.config.update("jax_enable_x64", True)
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kdpinn_jax"
        cache.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # without a writable home folder, every run compiles again
        return
    if os.access(cache, os.W_OK | os.X_OK):
        jax.config.update("jax_compilation_cache_dir", str(cache))


def use_cores(count: int | None) -> None:
    """Let JAX use ``count`` cores, each as a device; None uses all cores that are available to this process."""
    import jax

    from ..base.machine import available_cores

    with contextlib.suppress(RuntimeError):  # the caller has already started JAX, which keeps its devices
        jax.config.update("jax_num_cpu_devices", count or available_cores())


def join_processes() -> None:
    """Join the other processes of a distributed run. JAX reads their number and this one's rank from the environment.

    Raises:
        click.ClickException: this process was not started by a launcher that JAX knows.
    """
    import jax

    _keep_stdout_for_results()
    try:
        jax.distributed.initialize()
    except (ValueError, RuntimeError) as error:
        raise click.ClickException(
            f"--distributed: {error}; start the processes with srun or mpirun, or on a TPU pod"
        ) from None


def _keep_stdout_for_results() -> None:
    """Redirect the file descriptor of stdout to stderr, and keep ``sys.stdout`` for results.

    The library that connects the processes of CPUs prints its messages on that descriptor.
    """
    try:
        stdout, stderr = sys.stdout.fileno(), sys.stderr.fileno()
    except io.UnsupportedOperation:  # the caller has replaced the stream by one that no library prints on
        return
    sys.stdout.flush()
    results = os.fdopen(os.dup(stdout), "w", encoding=sys.stdout.encoding, errors="backslashreplace")
    os.dup2(stderr, stdout)
    sys.stdout = results


def is_first_process() -> bool:
    """Whether this process is the one that prints the results."""
    import jax

    return jax.process_index() == 0
