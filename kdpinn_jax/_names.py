"""The end of an error message about a name nobody knows: the nearest right one, and all of them."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'burgers'? Known: …"``, to follow «… is unknown»."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"; {guess}Known: {', '.join(known) or 'none'}"
