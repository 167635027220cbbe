"""Which columns of a table contain given quantities: by the header, by the user's choice, or by their order."""

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from ..names import nearest, one_line
from ._cells import without_unit
from .table import Table, TableError

#: The start of the name that pandas gives to columns without one.
_PANDAS_INDEX = "Unnamed: "
#: The largest number of digits of a column's number.
_DIGITS = 6


class Columns(NamedTuple):
    """The columns of a table that contain given quantities.

    Attributes:
        indices: one index per quantity.
        note: which columns are used, if the others are ignored without the user having chosen; otherwise empty.
    """

    indices: tuple[int, ...]
    note: str


def find_columns(
    table: Table, names: Sequence[str], others: Sequence[str] = (), chosen: Sequence[str] | None = None
) -> Columns:
    """The columns that contain the quantities ``names``.

    A header must name each of them once; units are ignored. Upper and lower case are not distinguished if the header
    spells none of them in the same way and names nothing but them and ``others``. Without a header, the columns must be
    the quantities in their order.

    Args:
        table: the table.
        names: the quantities.
        others: other quantities that the header may name, which are never taken for one of ``names`` in another case.
        chosen: the user's choice of a column for each quantity: its name in the header, or its number from 1.

    Raises:
        TableError: the columns are not determined; the message says how to choose them.
    """
    if chosen is not None:
        return Columns(_chosen(table, names, others, chosen), "")
    if table.names is None:
        if table.width == len(names):
            return Columns(tuple(range(len(names))), "")
        raise _error(table, _no_header(table, names))
    found = _named(table.names, names, others)
    for name, columns in found.items():
        if len(columns) != 1:
            problem = f"{len(columns)} columns are" if columns else "no column is"
            raise _error(table, f"{problem} named {name!r}; {_advice(table.names, names, others)}")
    indices = tuple(columns[0] for columns in found.values())
    return Columns(indices, _ignored(table, indices))


def _named(header: Sequence[str], names: Sequence[str], others: Sequence[str]) -> dict[str, list[int]]:
    """The indices of the columns that the header names for each quantity."""
    quantities = [cell if cell in names else without_unit(cell) for cell in header]
    exact = {name: [i for i, cell in enumerate(quantities) if cell == name] for name in names}
    known = {quantity.casefold() for quantity in (*names, *others, "")}
    # T may be a temperature if x or time is another column.
    is_ambiguous = any(exact.values()) or not all(
        cell.casefold() in known or cell.startswith(_PANDAS_INDEX) for cell in quantities
    )
    return exact if is_ambiguous else _in_any_case(quantities, names, others)


def _in_any_case(quantities: Sequence[str], names: Sequence[str], others: Sequence[str]) -> dict[str, list[int]]:
    return {
        name: [i for i, cell in enumerate(quantities) if cell.casefold() == name.casefold() and cell not in others]
        for name in names
    }


def _no_header(table: Table, names: Sequence[str]) -> str:
    problem = f"expected {len(names)} columns ({', '.join(names)}), found {table.width} and no header"
    if table.width < len(names):
        return problem
    # An example would be wrong if the columns are halves of numbers with decimal commas.
    example = "" if table.hint else f", such as --columns {','.join(map(str, range(1, len(names) + 1)))}"
    return f"{problem}; name the columns in a header, or select them by number with --columns{example}{table.hint}"


def _advice(header: Sequence[str], names: Sequence[str], others: Sequence[str]) -> str:
    """How to select the columns: with their names, if these differ from the quantities in case only."""
    alike = _in_any_case([without_unit(cell) for cell in header], names, others)
    if not all(len(columns) == 1 for columns in alike.values()):
        selection = f"select those of {', '.join(names)} in this order, by name or number, with --columns"
        return f"rename the columns, delete the line if it is not a header, or {selection}"
    choices = {name: header[columns[0]] for name, columns in alike.items()}
    doubtful = ", ".join(one_line(repr(cell), 40) for name, cell in choices.items() if without_unit(cell) != name)
    if all(cell.isprintable() and len(cell) <= 20 and "," not in cell for cell in choices.values()):
        selection = shlex.quote(",".join(choices.values()))
    else:
        selection = ",".join(str(columns[0] + 1) for columns in alike.values())
    return f"{doubtful} may be another quantity; rename the columns, or select them with --columns {selection}"


def _chosen(table: Table, names: Sequence[str], others: Sequence[str], chosen: Sequence[str]) -> tuple[int, ...]:
    order = ", ".join(names)
    if len(chosen) != len(names):
        raise _error(
            table, f"--columns selects {len(chosen)} columns; give {len(names)}, those of {order} in this order"
        )
    indices = tuple(_index(table, choice) for choice in chosen)
    found = _named(table.names or (), names, others)
    for name, index in zip(names, indices, strict=True):
        if indices.count(index) > 1:
            raise _error(
                table, f"--columns selects column {index + 1} twice; give the columns of {order} in this order"
            )
        if other := next((other for other, columns in found.items() if other != name and index in columns), None):
            problem = f"--columns selects the column of {other!r} for {name!r}"
            raise _error(table, f"{problem}; give the columns of {order} in this order")
    return indices


def _index(table: Table, choice: str) -> int:
    """The index of the column with this name, or this number from 1."""
    if choice.isascii() and choice.isdigit():
        if len(choice) <= _DIGITS and 1 <= int(choice) <= table.width:
            return int(choice) - 1
        raise _error(table, f"--columns {one_line(choice, 20)}: expected a number from 1 to {table.width}")
    if table.names is None:
        problem = f"--columns {one_line(choice, 40)}: the file has no header"
        raise _error(table, f"{problem}; give the numbers of the columns, counted from 1")
    for form in (str, without_unit, lambda cell: without_unit(cell).casefold()):
        matches = [i for i, cell in enumerate(table.names) if form(cell) == form(choice)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise _error(table, f"--columns {one_line(choice, 40)}: several columns have this name; give a number")
    known = [one_line(cell, 40) for cell in table.names[:20] if cell]
    raise _error(table, f"--columns: column {one_line(repr(choice), 40)} is unknown{nearest(choice[:40], known)}")


def _ignored(table: Table, indices: Sequence[int]) -> str:
    """Which columns are used, if there are others."""
    header = [name or f"column {i} (unnamed)" for i, name in enumerate(table.names or (), 1)]
    others = [name for i, name in enumerate(header) if i not in indices]
    used = ", ".join(header[i] for i in indices)
    return f"{table.path}: reads the columns {used} and ignores {', '.join(others)}" if others else ""


def _error(table: Table, problem: str) -> TableError:
    return TableError(f"{table.top}: {problem}")
