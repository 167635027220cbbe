"""Finds where an equation of a jaxpr comes from: the user's embedding or ansatz, or JAX and this library."""

import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import flax
import jax
import jaxtyping
from jax.extend.core import JaxprEqn

_JAX = str(Path(jax.__file__).parent)
#: Folders of code that is not the user's. The problems shipped with this library count as the library.
_LIBRARIES = (_JAX, str(Path(__file__).parents[1]), *(str(Path(p.__file__ or "").parent) for p in (flax, jaxtyping)))
_STANDARD_LIBRARY = sysconfig.get_path("stdlib")
_TRACE = str(Path(__file__).with_name("trace.py"))


def user_function(calls: Sequence[JaxprEqn]) -> str | None:
    """The user's function that an equation comes from, as ``ansatz (heat.py, line 12)``; None if it is not the user's.

    Args:
        calls: the equation, preceded by the equations that call the jaxpr which contains it, outermost first.
    """
    for equation in calls:
        for name, file, line in (*_frames(equation), *_called_functions(equation)):
            if _is_users(file):
                return f"{name.rpartition('.')[2]} ({Path(file).name}, line {line})"
    return None


def is_jax_function(equation: JaxprEqn) -> bool:
    """Whether an equation calls a function that JAX itself defines, such as ``jnp.copysign``."""
    return any(file.startswith(_JAX) for _, file, _ in _called_functions(equation))


def _is_users(file: str) -> bool:
    # A type checker's wrappers have the file "<@beartype(…)>". Installed packages may lie within the standard library.
    standard = file.startswith(_STANDARD_LIBRARY) and "site-packages" not in file
    return not (standard or file.startswith((*_LIBRARIES, "<@")))


def _frames(equation: JaxprEqn) -> Iterator[tuple[str, str, int]]:
    """Function, file and line of each call within the traced function that led to the equation, innermost first.

    Newer versions of JAX record these calls only, and older ones all calls since the start of the program. There, the
    calls of a function that was traced before, for another caller, are unknown.
    """
    traceback: Any = equation.source_info.traceback
    frames = [(frame.function_name, frame.file_name, frame.line_num) for frame in traceback.frames] if traceback else []
    ends = [i for i, (_, file, _) in enumerate(frames) if file == _TRACE]
    if ends:
        yield from frames[: ends[0]]
    elif not any(name == "<module>" for name, _, _ in frames):
        yield from frames


def _called_functions(equation: JaxprEqn) -> Iterator[tuple[str, str, int]]:
    """Name, file and line of the Python functions whose jaxprs an equation calls."""
    for parameter in equation.params.values():
        info: Any = getattr(getattr(parameter, "jaxpr", parameter), "debug_info", None)
        name, _, place = str(getattr(info, "func_src_info", None) or "").partition(" at ")
        file, _, line = place.rpartition(":")
        if line.isdigit():
            yield name, file, int(line)
