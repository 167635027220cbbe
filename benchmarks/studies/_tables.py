"""Markdown tables, and their places in a page."""

import re
from collections.abc import Sequence
from pathlib import Path


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with the given head and rows."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def put(table: str, marker: str, page: Path) -> None:
    """Replace the text between ``<!-- table: MARKER -->`` and ``<!-- end of table -->`` by the table.

    Args:
        table: Markdown.
        marker: the name of the table's place.
        page: the file that is edited.

    Raises:
        ValueError: the page does not have exactly one such place.
    """
    place = rf"(<!-- table: {re.escape(marker)} -->\n).*?(<!-- end of table -->)"
    text, count = re.subn(place, lambda m: f"{m[1]}{table}\n{m[2]}", page.read_text(), flags=re.DOTALL)
    if count != 1:
        raise ValueError(
            f"{page}: found {count} places for the table {marker!r}, expected 1; mark one place by "
            f"<!-- table: {marker} --> and <!-- end of table -->, each on a line by itself"
        )
    page.write_text(text)
