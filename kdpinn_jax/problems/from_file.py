"""Problems from Python files that the user names.

Such a file is executed, so its path must come from the user and never from a model file.
"""

import contextlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FunctionType, ModuleType

from ..base.names import nearest, one_line
from ..base.problem_file import ProblemFile, place_of
from ..pde.problem import Problem

#: Marks the modules that were executed here, which a later call may replace.
_OWN = "a file of a kdpinn_jax problem"


class ProblemFileError(ValueError):
    """A file from which no problem can be read; the message names the file, the line and the reason."""


def problems_from_files(sources: Sequence[ProblemFile]) -> list[Problem]:
    """The problems defined in Python files.

    Each file is executed once, as a module named by its stem, so that what is under ``if __name__ == "__main__"`` does
    not run. Its folder is on ``sys.path`` meanwhile, and what it prints goes to stderr.

    Args:
        sources: files and names.

    Raises:
        ProblemFileError: a file does not exist, is not Python or raises an exception; or it has no problem, several
            problems of which none is named, or something else under the name.
    """
    modules: dict[Path, ModuleType] = {}
    for source in sources:
        if source.file not in modules:
            if others := [path for path in modules if path.stem == source.file.stem]:
                raise ProblemFileError(f"{source.path} has the same name as {others[0]}; rename one of the two files")
            modules[source.file] = _execute(source)
    return [_problem_in(modules[source.file], source) for source in sources]


def _execute(source: ProblemFile) -> ModuleType:
    path, stem = source.file, source.file.stem
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ProblemFileError(f"{source.path}: {error.strerror}; give a Python file") from None
    if (other := sys.modules.get(stem)) and getattr(other.__spec__, "loader_state", None) != _OWN:
        if getattr(other, "__file__", None) == str(path):  # a file executed before has imported it
            return other
        raise ProblemFileError(f"{source.path} has the name of the module {stem!r}, which is in use; rename the file")
    spec = importlib.util.spec_from_file_location(stem, path)
    assert spec is not None
    spec.loader_state = _OWN
    module = importlib.util.module_from_spec(spec)
    sys.modules[stem] = module  # pickle and dataclasses find the module by its name
    try:
        with _folder_on_path(str(path.parent)), contextlib.redirect_stdout(sys.stderr):
            # The text is compiled here, because Python takes a cached module for a file edited within the same second.
            exec(compile(content, str(path), "exec", dont_inherit=True), vars(module))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the user's file raises, also SystemExit
        sys.modules.pop(stem, None)
        place = place_of(error, source) or source.path
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
        raise ProblemFileError(f"{place}: {kind}{one_line(reason, 1000)}") from error
    return module


@contextlib.contextmanager
def _folder_on_path(folder: str) -> Iterator[None]:
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the file has removed it
            sys.path.remove(folder)


def _problem_in(module: ModuleType, source: ProblemFile) -> Problem:
    found: dict[int, str] = {}
    for name, value in vars(module).items():
        if isinstance(value, Problem):
            found.setdefault(id(value), name)
    names, path = list(found.values()), source.path
    if source.name is None:
        if len(names) != 1:
            known = f"{len(names)} problems: {', '.join(names)}" if names else "no problem"
            raise ProblemFileError(f"{path} has {known}; give {path}:NAME with the name of one kd.Problem")
        return vars(module)[names[0]]
    if source.name not in vars(module):
        raise ProblemFileError(f"{path}: {source.name!r} is unknown{nearest(source.name, names)}")
    value = vars(module)[source.name]
    if isinstance(value, Problem):
        return value
    kind = "function" if isinstance(value, FunctionType) else type(value).__name__
    advice = "call it in the file" if kind == "function" else "give a kd.Problem a name of its own"
    raise ProblemFileError(
        f"{path}: {source.name!r} is a {kind}; expected a kd.Problem: {advice}, such as mine = kd.Problem(…)"
    )
