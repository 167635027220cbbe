"""``ProblemFile``: where a problem of the user's own is defined, written ``FILE.py:NAME``."""

import re
import traceback
from pathlib import Path
from typing import NamedTuple


class ProblemFile(NamedTuple):
    """The place of a problem.

    Attributes:
        path: the Python file, as the user gave it.
        name: the name of the problem in the file; None for the only problem of the file.
    """

    path: str
    name: str | None

    def __str__(self) -> str:
        return self.path if self.name is None else f"{self.path}:{self.name}"

    @property
    def file(self) -> Path:
        """The absolute path."""
        return Path(self.path).expanduser().absolute()


def parse_problem_file(text: str) -> ProblemFile:
    """``FILE.py:NAME`` or ``FILE.py`` as a value. The path may contain colons, as those of Windows do.

    Raises:
        ValueError: the text has another form.
    """
    match = re.fullmatch(r"(.*[^/\\:]\.py)(?::(.*))?", text, re.IGNORECASE | re.DOTALL)
    if match is None:
        raise ValueError(f"{text!r} is not FILE.py:NAME, such as mine.py:heat")
    path, name = match.groups()
    if name is not None and not name.isidentifier():
        raise ValueError(f"{name!r} is not a name in {path}; give FILE.py:NAME, such as mine.py:heat")
    return ProblemFile(path, name)


def place_of(error: BaseException, source: ProblemFile) -> str | None:
    """Where the user's code raised an error, ``mine.py, line 7``; None if it comes from elsewhere.

    It is the last line that the error passed in the file or in another file of its folder.

    Args:
        error: an exception that was caught.
        source: the file of the user's problem.
    """
    folder = source.file.parent
    lines = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        lines.append((error.filename, error.lineno or 1))
    for name, line in reversed(lines):
        if Path(name) == source.file or Path(name).parent == folder:
            return f"{Path(source.path).with_name(Path(name).name)}, line {line}"
    return None
