"""How a text file is laid out: its separator, its header and where its rows start, found from its first lines."""

import collections
import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ._cells import (
    BLANKS,
    COMMENT_MARKS,
    SEPARATOR_NAMES,
    header_candidates,
    is_comment,
    is_header,
    is_list_of_names,
    is_numbering,
    separator_of,
    split,
    without_trailing_blanks,
)
from ._lines import error_at, numbered_lines, place, shown
from ._numbers import is_number
from .table import TableError

#: A first line by which Excel is told the separator.
_SEPARATOR_LINE = re.compile(r'"?sep=.?"?')
#: The number of comments before the first row, the last ones, that may be the header.
_MOST_COMMENTS = 100


class _Line(NamedTuple):
    """A line of the file and its number."""

    number: int
    text: str


class Layout(NamedTuple):
    """The layout of a text file.

    Attributes:
        separator: the separator of its cells.
        width: the number of columns.
        names: the names of the columns, or None without a header.
        start: the number of lines before the first that can contain a row: those up to the header.
        top: the place and the content of the header, or else of the first row, for messages.
        note: what the user should know about how the file was understood; empty if nothing.
        hint: what may be wrong if the number of columns is; empty if nothing.
    """

    separator: str
    width: int
    names: tuple[str, ...] | None
    start: int
    top: str
    note: str
    hint: str


def find_layout(path: Path) -> Layout:
    """The layout of a text file, from its lines up to the first row.

    Raises:
        TableError: the file cannot be read, contains no rows, or its header does not match its first row.
    """
    header, comments = None, collections.deque[_Line](maxlen=_MOST_COMMENTS)
    with contextlib.closing(numbered_lines(path)) as lines:
        for number, text in lines:
            line, content = _Line(number, text), text.strip(" \t")
            if not content.strip(BLANKS) or _SEPARATOR_LINE.fullmatch(content):
                continue
            if is_comment(content):
                comments.append(line)
                continue
            try:
                separator = separator_of(text, separator_of(header.text) if header else None)
                cells = split(text, separator)
            except ValueError as error:
                raise error_at(path, number, text, str(error)) from None
            if header or not is_header(cells):
                return _layout(path, header, comments, line, separator, cells)
            header = line
    below = f" below the header in line {header.number} ({shown(header.text)})" if header else ""
    raise TableError(f"{path}: contains no rows of numbers{below}; expected at least one")


def _layout(
    path: Path, header: _Line | None, comments: Sequence[_Line], row: _Line, separator: str, cells: Sequence[str]
) -> Layout:
    hint = ""
    if separator == "," and "." not in row.text:
        hint = "; if its commas are decimal marks, write points, or separate the columns with semicolons"
    named = [(header, _names(path, header, row, separator, cells, hint))] if header else []
    named = named or [(line, names_in_comment(line.text, separator, cells)) for line in reversed(comments)]
    for line, names in named:
        if names:
            return Layout(separator, len(names), names, line.number, place(path, *line), "", hint)
    width = len(without_trailing_blanks(cells))
    # pandas writes such a header if the columns have no names, and nothing distinguishes it from a row.
    is_unsure = width > 1 and is_numbering(["", *cells])
    note = f"{place(path, *row)} is read as numbers; if it is a header, delete it" if is_unsure else ""
    return Layout(separator, width, None, row.number - 1, place(path, *row), note, hint)


def names_in_comment(text: str, separator: str, row: Sequence[str]) -> tuple[str, ...] | None:
    """The names of the columns in a comment, or None if it is not a header.

    Args:
        text: the line with the comment.
        separator: the separator of the rows.
        row: the cells of a row.
    """
    for cells, candidate in header_candidates(text.strip(" \t").lstrip("".join(COMMENT_MARKS)), separator):
        names = _fitting(cells, row)
        if names and is_list_of_names(names, candidate):
            return names
    return None


def _names(path: Path, header: _Line, row: _Line, separator: str, cells: Sequence[str], hint: str) -> tuple[str, ...]:
    """The names of the columns in a header without a comment mark.

    Raises:
        TableError: the header has another number of columns than the first row, or contains a number.
    """
    for names, candidate in header_candidates(header.text, separator):
        fitting = _fitting(names, cells)
        # Commas that may be decimal marks separate the rows only if they separate the header.
        if not fitting or (hint and candidate != separator):
            continue
        if any(map(is_number, fitting)) and not (is_numbering(fitting) and is_number(cells[0])):
            break
        return fitting
    expected = f"{len(cells)} names separated by {SEPARATOR_NAMES[separator]}, as in line {row.number}"
    raise error_at(path, *header, f"the header does not match the rows; expected {expected} ({shown(row.text)}){hint}")


def _fitting(names: Sequence[str], row: Sequence[str]) -> tuple[str, ...] | None:
    """The names, if there are as many as cells in the row; blank cells at the end of either do not count."""
    named = without_trailing_blanks(names)
    if len(named) <= len(row) and not any(row[len(named) :]):
        return tuple(named)
    return tuple(names) if len(names) == len(row) else None
