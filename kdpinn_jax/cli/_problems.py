"""Problems and models of a command: shipped ones, and those of the user's own that ``--problem`` names.

Code is executed only from files that the user names on the command line.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..base.problem_file import ProblemFile
from . import _host as host
from . import _options as cli
from ._outline import outline_of, shipped_outlines

if TYPE_CHECKING:
    from ..models.model import Model
    from ..pde.problem import Problem


def check_one_problem(name: str | None, own: ProblemFile | None) -> None:
    """Check that a command has exactly one problem.

    Args:
        name: the name of a shipped problem.
        own: the value of ``--problem``.

    Raises:
        click.UsageError: it has none or two.
    """
    if (name is None) == (own is None):
        reason = "missing argument 'PROBLEM'" if name is None else f"{name} and --problem {own} are two problems"
        raise click.UsageError(f"{reason}; give either the name of a shipped problem or --problem FILE.py:NAME")


def load_problem(name: str | None, own: ProblemFile | None, *, student: bool, **options: Any) -> "Problem":
    """The problem of a command, after its options have been checked; starts JAX.

    Args:
        name: the name of a shipped problem, or None.
        own: the value of ``--problem``, or None.
        student: as in ``check_names``.
        options: the options of the command.

    Returns:
        The problem, a parametric one if there are ranges.

    Raises:
        click.UsageError: there is not exactly one problem, or an option does not fit it.
        ProblemFileError: as in ``problems_from_files``.
    """
    check_one_problem(name, own)
    if name is not None:  # the names are checked before JAX is imported
        cli.check_names(shipped_outlines()[name], student=student, **options)
    host.set_up_jax()
    from ..pde.parametric import parametric
    from ..problems import ALL

    if name is not None:
        problem = ALL[name]
    else:
        (problem,) = load_own([own] if own else [])
        cli.check_names(outline_of(problem), student=student, **options)
    ranges = dict(options["ranges"]) if "ranges" in options else {}
    return parametric(problem, **ranges) if ranges else problem


def load_own(sources: Sequence[ProblemFile]) -> "list[Problem]":
    """The problems that ``--problem`` names. An error that their code raises later is reported with its line.

    Raises:
        click.UsageError: two of them have the same name.
        ProblemFileError: as in ``problems_from_files``.
    """
    from ..problems.from_file import problems_from_files

    host.report_lines_of(sources)
    problems = problems_from_files(sources)
    names = [problem.name for problem in problems]
    for name in names:
        if names.count(name) > 1:
            raise click.UsageError(f"--problem: two problems are named {name!r}; give one of them per command")
    return problems


def load_models(paths: Sequence[Path], sources: Sequence[ProblemFile]) -> "list[Model]":
    """The models in files, whose problems are shipped or given by ``--problem``.

    Raises:
        click.UsageError: a problem of ``--problem`` is not that of any model.
        ModelFileError, ProblemFileError: a model or a problem cannot be loaded.
    """
    from ..problems.load import load_among

    problems = load_own(sources)
    models = [load_among(path, problems) for path in paths]
    for source, problem in zip(sources, problems, strict=True):
        if not any(model.problem.name == problem.name for model in models):
            solved = ", ".join(sorted({model.problem.name for model in models})) or "no problem"
            raise click.UsageError(f"--problem {source} is problem {problem.name!r}, but the model solves {solved}")
    return models


def load_model(path: Path, own: ProblemFile | None) -> "Model":
    """``load_models`` for one model."""
    (model,) = load_models([path], [own] if own else [])
    return model
