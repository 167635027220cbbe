"""The process a command runs in: errors in one line and an exit code, streams, files, JAX and its devices.

What needs JAX is imported where it is used, after a command's own options are known to be right.
"""

import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from ..base.names import one_line


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


def say(message: str) -> None:
    """A line on stderr."""
    click.echo(message, err=True)


def print_json(content: Any) -> None:
    """JSON on stdout."""
    from ..base.storage import as_json

    click.echo(as_json(content))


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

    from ..base.machine import available_cores

    with contextlib.suppress(RuntimeError):  # JAX has begun, in a caller's process: it keeps the devices it has
        jax.config.update("jax_num_cpu_devices", count or available_cores())


def join_processes() -> None:
    """One program in several processes: JAX finds out from its surroundings how many they are, and which this is."""
    import jax

    _keep_stdout_for_results()
    try:
        jax.distributed.initialize()
    except (ValueError, RuntimeError) as error:
        raise click.ClickException(f"--distributed: {error}; start it by srun, mpirun or on a TPU pod") from None


def _keep_stdout_for_results() -> None:
    """What carries the messages between CPUs prints on the process's stdout: from here on that is stderr."""
    try:
        stdout, stderr = sys.stdout.fileno(), sys.stderr.fileno()
    except io.UnsupportedOperation:  # a caller's own stream, which no library prints on
        return
    sys.stdout.flush()
    results = os.fdopen(os.dup(stdout), "w", encoding=sys.stdout.encoding, errors="backslashreplace")
    os.dup2(stderr, stdout)
    sys.stdout = results


def is_first_process() -> bool:
    """Whether this process is the one that speaks."""
    import jax

    return jax.process_index() == 0
