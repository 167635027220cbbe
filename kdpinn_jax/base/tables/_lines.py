"""The lines of a text file, whatever its encoding and line ends, in little memory whatever its content."""

import codecs
from collections.abc import Generator
from pathlib import Path

from ..names import one_line
from .table import TableError

#: The length in characters from which a line is not taken for a row of numbers, and is not read to its end.
LONGEST_LINE = 1_000_000
#: The number of characters that are read at a time.
_CHUNK = 262_144


def numbered_lines(path: Path) -> Generator[tuple[int, str], None, None]:
    """The lines of a text file without their ends, which may be LF, CR LF or CR, numbered from 1.

    The encoding is UTF-16 if the file starts with its byte order mark, and UTF-8 otherwise. Bytes that are invalid in
    the encoding become U+FFFD, which no number contains: numbers are ASCII, but comments and labels may be in an older
    encoding.

    Raises:
        TableError: the file cannot be read, or a line is too long or contains a zero byte.
    """
    try:
        with path.open("rb") as file:
            encoding = "utf-16" if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
        with path.open(encoding=encoding, errors="replace", newline=None) as file:
            count, rest = 0, ""
            while chunk := file.read(_CHUNK):
                lines = (rest + chunk).split("\n")
                if "\0" in chunk:
                    number, line = next((i, line) for i, line in enumerate(lines, count + 1) if "\0" in line)
                    raise error_at(path, number, line, "contains a zero byte; is this a text file?")
                rest = lines.pop()
                yield from enumerate(lines, count + 1)
                count += len(lines)
                if len(rest) > LONGEST_LINE:
                    problem = f"longer than {LONGEST_LINE} characters; is this a text file?"
                    raise error_at(path, count + 1, rest, problem)
            if rest:
                yield count + 1, rest
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({one_line(error)})") from None


def place(path: Path, number: int, line: str) -> str:
    """Where a line is and what it contains, for messages."""
    return f"{path}, line {number} ({shown(line)})"


def shown(text: str, longest: int = 60) -> str:
    """A text from the file in quotation marks, cut off if it is long."""
    return repr(text) if len(text) <= longest else f"{text[:longest]!r}…"


def error_at(path: Path, number: int, line: str, problem: str) -> TableError:
    """The error that a line of the file cannot be used."""
    return TableError(f"{place(path, number, line)}: {problem}")
