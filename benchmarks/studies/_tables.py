"""Tables in Markdown: made from rows, and put between their marks in a page."""

import re
from collections.abc import Sequence
from pathlib import Path


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def put(table: str, mark: str, page: Path) -> None:
    """Put the table between ``<!-- table: mark -->`` and the end of the table.

    Raises:
        ValueError: the page has no such place, or several.
    """
    marks = rf"(<!-- table: {re.escape(mark)} -->\n).*?(<!-- end of table -->)"
    text, count = re.subn(marks, lambda m: f"{m[1]}{table}\n{m[2]}", page.read_text(), flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{page}: has {count} places for the table {mark!r}; give it one")
    page.write_text(text)
