"""Lines of a text divided into cells, and what kind of line each is."""

import contextlib
import itertools
import re
from collections.abc import Iterator, Sequence

from ._numbers import is_grouped, is_number

#: The separators of cells, in the order in which they are tried; a space stands for a run of spaces and tabs.
SEPARATORS = (";", "\t", ",", " ")
#: How each separator is called in messages.
SEPARATOR_NAMES = {";": "semicolons", "\t": "tabs", ",": "commas", " ": "spaces"}
COMMENT_MARKS = ("%", "#")
#: What spreadsheets write for a value that could not be computed, such as #N/A or #DIV/0!, in several languages.
_SPREADSHEET_ERROR = re.compile(r"#(?:N/[A-Z]|NV|[^\s,;]{2,10}[!?])(?=[\s,;]|$)")
#: What stands for a missing number, and is not the name of a column.
_MISSING = {"na", "n/a", "n.a.", "null", "none", "nil", "missing"}
#: A line of these characters has no content. A quotation mark is among them, because an empty cell may be quoted.
BLANKS = ' \t,;"'
_NOT_BLANK = re.compile(r"[^ \t]+")
_TWO_BLANKS = re.compile(r"[ \t]{2,}")
_QUOTED = re.compile(r'"(?:[^"]|"")*+"(?!")')
# Lengths are limited, because the time would otherwise be quadratic in the length of a line.
_BRACKETS = r"(?:\[[^\]]{0,40}\]|\([^)]{0,40}\))"
#: A word of a header with its unit, which may follow a space and contain spaces.
_WORD = re.compile(rf"[^ \t]+?(?:[ \t]{{0,3}}{_BRACKETS})?(?=[ \t]|$)")
_UNIT = re.compile(rf"(.+?)(?:[ \t]{{0,3}}{_BRACKETS}| ?/ ?[^ \t/]{{1,40}}| in [^ \t]{{1,40}})")


def split(line: str, separator: str) -> list[str]:
    """The cells of a line, without the spaces and quotation marks around them.

    Raises:
        ValueError: a quotation mark is not closed, or other text follows it in its cell.
    """
    cells = _pieces(line, separator)
    return list(map(_unquoted, cells)) if '"' in line else cells


def _pieces(line: str, separator: str) -> list[str]:
    """The parts of a line between separators that are not in quotation marks, without the spaces around them."""
    masked = _QUOTED.sub(lambda match: "x" * len(match[0]), line) if '"' in line else line
    if separator == " ":
        return [line[slice(*match.span())] for match in _NOT_BLANK.finditer(masked)]
    ends = itertools.accumulate(len(piece) + 1 for piece in masked.split(separator))
    return [line[start : end - 1].strip(" \t") for start, end in itertools.pairwise([0, *ends])]


def _unquoted(cell: str) -> str:
    if not cell.startswith('"'):
        return cell
    if not _QUOTED.fullmatch(cell):
        raise ValueError("a quotation mark is not closed, or is followed by other text in its cell")
    return cell[1:-1].replace('""', '"').strip(" \t")


def without_trailing_blanks(cells: Sequence[str]) -> list[str]:
    """The cells up to the last one that is not empty."""
    count = len(cells)
    while count and not cells[count - 1]:
        count -= 1
    return list(cells[:count])


def separator_of(line: str, default: str | None = None) -> str:
    """The separator with which all cells of the line are numbers; or else the default or the first that it contains."""
    candidates: dict[str, list[str]] = {}
    for separator in SEPARATORS:
        with contextlib.suppress(ValueError):  # a quotation mark that this separator leaves within a cell
            cells = without_trailing_blanks(split(line, separator))
            if len(cells) > 1 or separator in line.strip(" \t"):
                candidates[separator] = cells
    for separator, cells in candidates.items():
        if separator == " " and "" in candidates.get("\t", ()):
            continue  # spaces would hide the blank cell
        if separator == " " and all(is_number(cell) or is_grouped(cell) for cell in candidates.get(",", [""])):
            continue  # 1 250,3 750 is 1; 250.3; 750 or 1250; 3750
        if all(map(is_number, cells)):
            return separator
    return default if default in candidates else next(iter(candidates), ",")


def is_comment(line: str) -> bool:
    """Whether a line, without blanks at its start, is a comment."""
    return line.startswith(COMMENT_MARKS) and not _SPREADSHEET_ERROR.match(line)


def is_header(cells: Sequence[str]) -> bool:
    """Whether a first line is a header: it has text and no numbers, or is that of a pandas table without names."""
    has_text = any(character.isalpha() for cell in cells for character in cell)
    has_numbers = any(is_number(cell) or cell.lower() in _MISSING or _SPREADSHEET_ERROR.match(cell) for cell in cells)
    return (has_text and not has_numbers) or is_numbering(cells)


def is_numbering(cells: Sequence[str]) -> bool:
    """Whether the cells are an empty one, above the index, followed by 0, 1, 2 …, as pandas numbers its columns."""
    return len(cells) > 1 and list(cells) == ["", *map(str, range(len(cells) - 1))]


def header_candidates(text: str, separator: str) -> Iterator[tuple[list[str], str]]:
    """The ways to divide a header into cells, each with its separator; that of the rows first, two spaces for a run."""
    others = [other for other in SEPARATORS if other != separator]
    for candidate in (separator, *others):
        if candidate == " " and '"' not in text:
            yield _TWO_BLANKS.split(text.strip(" \t")), "  "
            yield _WORD.findall(text), " "
            continue
        with contextlib.suppress(ValueError):  # a quotation mark that this separator leaves within a cell
            yield split(text, candidate), candidate


def is_list_of_names(cells: Sequence[str], separator: str) -> bool:
    """Whether the cells of a comment are the names of columns and not the words of a sentence."""
    if any(is_number(cell) or not any(map(str.isalpha, cell)) for cell in cells):
        return False
    if len(cells) > 1 and separator != " ":
        return True
    return all(part.isidentifier() for cell in cells for part in without_unit(cell).split("."))


def without_unit(name: str) -> str:
    """A column's name without its unit, which is written as t [s], t (s), t/s or t in s."""
    match = _UNIT.fullmatch(name)
    return match.group(1) if match else name
