"""Words of error messages: the nearest right name, and what came from outside on one short printable line."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'burgers'? Known: …"``, to follow «… is unknown»."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"; {guess}Known: {', '.join(known) or 'none'}"


def one_line(text: object, longest: int = 300) -> str:
    """The text as one line that is safe to print: a file or a caller may bring line ends, a terminal's control
    characters, half a surrogate pair, or a megabyte."""
    line = " ".join(str(text)[: 4 * longest].split())
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return line if len(line) <= longest else f"{line[:longest]}…"
