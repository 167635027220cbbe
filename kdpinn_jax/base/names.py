"""Text for error messages: suggestions for a misspelt name, and untrusted text on one printable line."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """A suggestion to append to "… is unknown": ``"; did you mean 'burgers'? Known: …"``.

    Args:
        name: the unknown name.
        known: the names that would be valid.
    """
    known = list(known)
    matches = difflib.get_close_matches(name, known, n=1)
    guess = f"did you mean {matches[0]!r}? " if matches else ""
    return f"; {guess}Known: {', '.join(known) or 'none'}"


def one_line(text: object, longest: int = 300) -> str:
    """The text as one line that is safe to print.

    A file or a caller may supply line ends, control characters of a terminal, lone surrogates, or a megabyte.

    Args:
        text: converted by ``str``.
        longest: the number of characters after which the line is cut off.
    """
    line = " ".join(str(text)[: 4 * longest].split())
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return line if len(line) <= longest else f"{line[:longest]}…"
