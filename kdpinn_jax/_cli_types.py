"""The values of the command line's options: what was typed becomes what is meant, or a line says what to type."""

import itertools
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from ._names import nearest

if TYPE_CHECKING:
    from ._problem import Problem

#: Larger networks than these are a slip of the keyboard, and would exhaust the memory before failing: L-BFGS keeps a
#: hundred copies of the weights, 2.4 GB at three million.
WIDEST, DEEPEST, MOST_WEIGHTS = 4096, 64, 3_000_000
#: Points of one call that a benchmark times.
MOST_POINTS, MOST_SIZES = 10_000_000, 100


class Seconds(click.ParamType):
    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or number <= 0:
            self.fail(f"{value!r} is not a positive number of seconds", param, ctx)
        return number


class Assignment(click.ParamType):
    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (name and equals and math.isfinite(number)):
            self.fail(f"{value!r} is not NAME=VALUE with a finite number, such as nu=0.01", param, ctx)
        return name.strip(), number


class Layers(click.ParamType):
    name = "WIDTHS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isascii() and part.isdigit() and 1 <= len(part) <= 6 for part in parts):
            self.fail(f"{value!r} is not a list of hidden widths such as 20,20,20", param, ctx)
        widths = tuple(map(int, parts))
        if len(widths) > DEEPEST or not all(1 <= width <= WIDEST for width in widths):
            self.fail(f"{value!r}: give 1 to {DEEPEST} hidden layers of 1 to {WIDEST} neurons", param, ctx)
        if sum(a * b for a, b in itertools.pairwise(widths)) > MOST_WEIGHTS:
            self.fail(f"{value!r}: more than {MOST_WEIGHTS} weights; give fewer or narrower hidden layers", param, ctx)
        return widths


class Sizes(click.ParamType):
    name = "SIZES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isascii() and part.isdigit() and 1 <= len(part) <= 8 for part in parts):
            self.fail(f"{value!r} is not a list of numbers of points such as 1,1024", param, ctx)
        if len(parts) > MOST_SIZES or not all(1 <= int(part) <= MOST_POINTS for part in parts):
            self.fail(f"{value!r}: give up to {MOST_SIZES} numbers of 1 to {MOST_POINTS} points", param, ctx)
        return tuple(map(int, parts))


class _ProblemName(click.ParamType):
    name = "problem"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "Problem":
        from .problems import ALL

        if value not in ALL:
            self.fail(f"problem {value!r} is unknown{nearest(value, ALL)}", param, ctx)
        return ALL[value]


class Word(click.ParamType):
    """One of a few words; the nearest right one is named. The option's metavar spells them for ``--help``."""

    def __init__(self, name: str, words: Callable[[], Iterable[str]]) -> None:
        self.name, self.words = name, words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        words = tuple(self.words())
        if value not in words:
            self.fail(f"{self.name} {value!r} is unknown{nearest(str(value), words)}", param, ctx)
        return value


class Words(Word):
    """Several of them, with commas between."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        return tuple(super(Words, self).convert(word.strip(), param, ctx) for word in str(value).split(","))


def presets() -> Iterable[str]:
    from ._recipes import PRESETS

    return PRESETS


def recipes() -> Iterable[str]:
    from ._recipes import RECIPES

    return RECIPES


def activations() -> Iterable[str]:
    from ._network import ACTIVATIONS

    return ACTIVATIONS


def formats() -> Iterable[str]:
    from .export import FORMATS

    return FORMATS


def methods() -> Iterable[str]:
    from .bench import METHODS

    return METHODS


PROBLEM = _ProblemName()
