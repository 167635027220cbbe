"""Numbers in the cells of a text: the forms that are read, those that are ambiguous, and why a cell is not a number."""

import re
from collections.abc import Sequence

import numpy as np

# Possessive quantifiers keep the time linear in the length of a cell.
_POINT = re.compile(r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eEdD][+-]?[0-9]++)?")
_COMMA = re.compile(_POINT.pattern.replace(r"\.", ","))
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
#: A comma that may separate thousands or decimals: 1,250 is 1250 or 1.25.
_AMBIGUOUS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
_GROUPED = re.compile(r"[+-]?[0-9]{1,3}(?:[ ,.'\u00a0\u2009\u202f][0-9]{3})+(?:[.,][0-9]*)?")
_CHARACTERS = b"0123456789+-eE \t\n"


class CellError(ValueError):
    """The message says why a cell cannot be read. ``index`` is its position in the sequence."""

    def __init__(self, index: int, problem: str) -> None:
        super().__init__(problem)
        self.index = index


def is_number(cell: str) -> bool:
    """Whether a cell is a number, NaN or infinity, with either decimal mark."""
    return any(form.fullmatch(cell) for form in (_POINT, _COMMA, _NOT_FINITE))


def is_grouped(cell: str) -> bool:
    """Whether a cell looks like a number with separators of thousands."""
    return _GROUPED.fullmatch(cell) is not None


def decimal_mark(cells: Sequence[str]) -> str:
    """The decimal mark of the first number that has one, or an empty string."""
    for cell in cells:
        cell = cell.strip(" \t")
        if ("," in cell or "." in cell) and is_number(cell):
            return "," if "," in cell else "."
    return ""


def commas_are_decimal(cells: Sequence[str]) -> bool:
    """Whether one of these numbers has a comma that cannot separate thousands."""
    return any("," in cell and not _AMBIGUOUS.fullmatch(cell.strip(" \t")) for cell in cells)


def parse(cells: Sequence[str], mark: str) -> np.ndarray:
    """The cells as float64, correctly rounded.

    Args:
        cells: texts, which may have spaces and tabs around them.
        mark: the decimal mark of the file, or an empty string if no number so far has one.

    Raises:
        CellError: a cell is not a number, or has another decimal mark.
    """
    text = "\n".join(cells)
    if text.isascii() and not text.encode().translate(None, _CHARACTERS + mark.encode()):
        # Python reads these characters as numbers of the permitted forms only; other characters, it may read as others.
        try:
            plain = text.replace(",", ".").split("\n") if mark == "," else cells
            return np.fromiter(map(float, plain), np.float64, len(cells))
        except ValueError:
            pass
    return np.fromiter((_number(i, cell.strip(" \t"), mark) for i, cell in enumerate(cells)), np.float64, len(cells))


def _number(index: int, cell: str, mark: str) -> float:
    if (_COMMA if mark == "," else _POINT).fullmatch(cell):
        return float(cell.replace(",", ".").lower().replace("d", "e"))
    if _NOT_FINITE.fullmatch(cell):
        return float(cell)
    raise CellError(index, _problem(cell, mark))


def _problem(cell: str, mark: str) -> str:
    if not cell:
        return "is empty"
    if mark and is_number(cell):
        return f"has another decimal mark than the numbers before it, which have {mark!r}"
    if is_grouped(cell):
        return "has separators of thousands; remove them"
    if is_number(re.sub("[\u2010-\u2015\u2212]", "-", cell)):
        return "has a dash for a minus sign; write '-'"
    return "is not a number"
