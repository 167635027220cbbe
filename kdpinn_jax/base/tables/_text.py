"""A table in a text file: one row per line, as spreadsheets, NumPy, pandas, COMSOL and others write it."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from . import table
from ._cells import COMMENT_MARKS, SEPARATOR_NAMES, is_comment, split
from ._layout import Layout, find_layout, names_in_comment
from ._lines import error_at, numbered_lines, place
from ._numbers import CellError, commas_are_decimal, decimal_mark, parse
from .table import Block, Table, TableError

#: The number of characters of each line that are kept for messages.
_KEPT = 100


def text_table(path: Path) -> Table:
    """The table in a text file.

    The cells are separated by commas, tabs, semicolons or runs of spaces, and may be in quotation marks. Lines that
    start with % or # are comments. The columns may be named in the first line, or else in a comment before the rows.
    Blank lines are skipped, and so are blank cells at the end of a line and rows of blank cells at the end of the file.
    Numbers may have Fortran's exponents (1.0D-1) and, where commas do not separate cells, decimal commas.

    Raises:
        TableError: the file cannot be read, contains no rows, or its header does not match its first row. ``blocks``
            raises it for a row that has another number of columns or is blank, a cell that is not a number, decimal
            marks of two kinds, and commas that may be decimal marks or separate thousands.
    """
    layout = find_layout(path)
    blocks = lambda columns: _blocks(path, layout, columns)
    return Table(path, layout.names, layout.width, layout.top, layout.note, layout.hint, blocks)


class _Batch(NamedTuple):
    """Consecutive rows as flat lists: lists of one object per row take twice the time, for garbage collection.

    Attributes:
        numbers: the number of each row's line.
        texts: the beginning of each row's line.
        cells: the selected cells, row by row.
    """

    numbers: list[int]
    texts: list[str]
    cells: list[str]


def _blocks(path: Path, layout: Layout, columns: Sequence[int]) -> Iterator[Block]:
    mark, first_comma, proven = "", "", False
    for batch in _batches(_rows(path, layout, columns)):
        where = lambda row, batch=batch: place(path, batch.numbers[row], batch.texts[row])
        mark = mark or decimal_mark(batch.cells)
        try:
            values = parse(batch.cells, mark).reshape(-1, len(columns))
        except CellError as error:
            row, column = divmod(error.index, len(columns))
            raise TableError(f"{where(row)}: the cell in column {columns[column] + 1} {error}") from None
        if mark == "," and not proven:
            first_comma = first_comma or where(next(i for i, c in enumerate(batch.cells) if "," in c) // len(columns))
            proven = commas_are_decimal(batch.cells)
        yield Block(values, where)
    if mark == "," and not proven:
        raise TableError(f"{first_comma}: the commas are decimal marks or separate thousands; write decimal points")


def _batches(rows: Iterator[tuple[int, str, list[str]]]) -> Iterator[_Batch]:
    """Up to ``BLOCK`` rows at a time."""
    batch = _Batch([], [], [])
    for number, text, cells in rows:
        batch.numbers.append(number)
        batch.texts.append(text)
        batch.cells.extend(cells)
        if len(batch.numbers) == table.BLOCK:
            yield batch
            batch = _Batch([], [], [])
    if batch.numbers:
        yield batch


def _rows(path: Path, layout: Layout, columns: Sequence[int]) -> Iterator[tuple[int, str, list[str]]]:
    """The number, the beginning and the selected cells of every row."""
    separator, width = layout.separator, layout.width
    select = list(columns) != list(range(width))
    special = {"\t", '"', separator, *COMMENT_MARKS}  # how a blank row or a comment may start
    error = None  # the fault of a line that is none if no row follows
    for number, text in itertools.islice(numbered_lines(path), layout.start, None):
        content = text.strip(" ")
        if not content or content[0] in special:
            if is_comment(content.lstrip("\t ")):
                if _is_other_header(content, layout):
                    problem = "the comment names the columns differently, but rows follow; split the file or delete it"
                    error = error or error_at(path, number, text, problem)
                continue
            if not content.strip(f'{separator}" \t'):
                # A line of separators is a row of blank cells. A row of one cell has no separators at all.
                if width == 1 or '"' in content or (separator in content and separator != " "):
                    problem = "the row is blank, but others follow; fill it or delete it"
                    error = error or error_at(path, number, text, problem)
                continue
        if error:
            raise error
        cells = content.split(separator)
        if len(cells) != width or '"' in content or (separator == " " and ("" in cells or "\t" in content)):
            cells = _checked_cells(path, number, text, layout)
        yield number, text[:_KEPT], [cells[j] for j in columns] if select else cells


def _checked_cells(path: Path, number: int, text: str, layout: Layout) -> list[str]:
    """The cells of a row, without blank ones at the end that are not in the first row or the header."""
    try:
        cells = split(text, layout.separator)
    except ValueError as error:
        raise error_at(path, number, text, str(error)) from None
    width = layout.width
    if len(cells) < width or any(cells[width:]):
        hint = layout.hint if len(cells) > width else ""
        problem = f"expected {width} columns separated by {SEPARATOR_NAMES[layout.separator]}, found {len(cells)}{hint}"
        raise error_at(path, number, text, problem)
    return cells[:width]


def _is_other_header(comment: str, layout: Layout) -> bool:
    """Whether a comment after the header puts its columns in another order, as in files that were joined."""
    names = names_in_comment(comment, layout.separator, ["0"] * layout.width)
    if not names or not layout.names:
        return names is not None
    known = set(layout.names)
    return any(name != before and name in known for name, before in zip(names, layout.names, strict=True))
