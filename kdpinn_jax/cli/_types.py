"""Types of the command line's options: each parses a value, or fails with one line that states what is expected."""

import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from ..base.names import nearest
from ..base.problem_file import ProblemFile, parse_problem_file
from ._outline import shipped_outlines

#: Names and numbers of the library, repeated here because importing it takes seconds; tests/test_cli.py compares them.
ACTIVATIONS = ("tanh", "silu", "sine")
PRESETS = ("quick", "default", "best")
RECIPES = ("default", "paper")
CONDITIONS = ("soft", "hard")
ENGINES = ("jit", "c")
FORMATS = ("c", "onnx", "stablehlo")
METHODS = ("jax.disable_jit", "op by op", "jax.jit", "compile_predict", "C", "ONNX Runtime", "NumPy", "PyTorch")
METHODS += ("TorchScript", "torch.compile")
#: The hidden widths and numbers of hidden layers that a search tries by default.
WIDTHS, DEPTHS = (4, 6, 8, 12, 16, 20, 28), (1, 2, 3)
#: The parameters of stages that a sweep can vary.
STAGE_NUMBERS = ("damping", "learning_rate")
#: Larger networks are taken for typing errors. They would exhaust the memory before failing, because L-BFGS keeps a
#: hundred copies of the weights: 2.4 GB for three million weights.
WIDEST, DEEPEST, MOST_WEIGHTS = 4096, 64, 3_000_000
#: The largest number of members of a sweep.
MOST_MEMBERS = 10_000
#: The largest number of points per call in a benchmark.
MOST_POINTS = 10_000_000


class Positive(click.ParamType):
    """A positive, finite number."""

    name = "number"
    expected = "a positive number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or number <= 0:
            self.fail(f"{value!r} is not {self.expected}", param, ctx)
        return number


class Seconds(Positive):
    """A positive, finite number of seconds."""

    name = "seconds"
    expected = "a positive number of seconds"


class Assignment(click.ParamType):
    """A name with a finite number."""

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


class Range(click.ParamType):
    """A name with a lower and an upper bound."""

    name = "NAME=LOW,HIGH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[float, float]]:
        if isinstance(value, tuple):
            return value
        name, _, text = str(value).partition("=")
        try:
            low, high = map(float, text.split(","))
        except ValueError:
            low = high = math.nan
        if not (name.strip() and -math.inf < low < high < math.inf):
            self.fail(f"{value!r} is not NAME=LOW,HIGH with LOW below HIGH, such as nu=0.005,0.05", param, ctx)
        return name.strip(), (low, high)


class Counts(click.ParamType):
    """Positive whole numbers separated by commas.

    Args:
        name: the placeholder in ``--help``.
        plural: what the numbers are, for messages.
        example: a valid value, for messages.
        most: the largest permitted number.
        length: the largest permitted count of numbers.
    """

    digits = 8

    def __init__(self, name: str, plural: str, example: str, most: int, length: int = 100) -> None:
        self.name, self.plural, self.example, self.most, self.length = name, plural, example, most, length
        self.limits = f"up to {length} {plural}, each from 1 to {most}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isascii() and part.isdigit() and 1 <= len(part) <= self.digits for part in parts):
            self.fail(f"{value!r} is not a list of {self.plural} such as {self.example}", param, ctx)
        counts = tuple(map(int, parts))
        if len(counts) > self.length or not all(1 <= count <= self.most for count in counts):
            self.fail(f"{value!r} is too long or out of range; give {self.limits}", param, ctx)
        return counts


class Layers(Counts):
    """The hidden widths of one network."""

    digits = 6

    def __init__(self) -> None:
        super().__init__("WIDTHS", "hidden widths", "20,20,20", WIDEST, DEEPEST)
        self.limits = f"1 to {DEEPEST} hidden layers of 1 to {WIDEST} neurons"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        widths = super().convert(value, param, ctx)
        if weights(widths) > MOST_WEIGHTS:
            self.fail(f"{value!r} has more than {MOST_WEIGHTS} weights; give fewer or narrower layers", param, ctx)
        return widths


def weights(widths: Sequence[int]) -> int:
    """The number of weights between these hidden layers."""
    return sum(a * b for a, b in itertools.pairwise(widths))


class Vary(click.ParamType):
    """A quantity with values separated by commas: numbers, seeds (also as FIRST:END), widths (as 20x20x20) or names."""

    name = "NAME=VALUES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, list[Any]]:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        name, parts = name.strip(), [part.strip() for part in text.split(",")]
        if not (name and equals and all(parts)):
            self.fail(f"{value!r} is not NAME=VALUES, such as seed=0:16 or nu=0.005,0.01", param, ctx)
        if name == "layers":
            return name, [Layers().convert(part.replace("x", ","), param, ctx) for part in parts]
        if name == "activation":
            return name, [Choice("activation", ACTIVATIONS).convert(part, param, ctx) for part in parts]
        values = [number for part in parts for number in self._numbers(name, part, param, ctx)]
        if len(values) > MOST_MEMBERS:
            self.fail(f"{value!r} has {len(values)} values; give at most {MOST_MEMBERS}", param, ctx)
        return name, values

    def _numbers(self, name: str, part: str, param: click.Parameter | None, ctx: click.Context | None) -> list[float]:
        first, colon, end = part.partition(":")
        is_whole = lambda text: text.isascii() and text.isdigit() and len(text) <= 10
        if name == "seed" and is_whole(first) and (is_whole(end) if colon else True):
            a, b = int(first), int(end) if colon else int(first) + 1
            if a < b <= 2**32 and b - a <= MOST_MEMBERS:
                return list(range(a, b))
        elif name != "seed":
            try:
                number = float(part)
            except ValueError:
                number = math.nan
            if math.isfinite(number):
                return [number]
        if name == "seed":
            self.fail(f"seed={part!r} is invalid; give seeds such as 0,1,2 or 0:16, at most {MOST_MEMBERS}", param, ctx)
        return self.fail(f"{name}={part!r} is invalid; give finite numbers", param, ctx)


class Choice(click.ParamType):
    """One of a few names. The message about an unknown name suggests the nearest one.

    Args:
        name: what is chosen, for messages.
        choices: the valid names, which ``--help`` lists.
    """

    def __init__(self, name: str, choices: Iterable[str]) -> None:
        self.name, self.choices = name, tuple(choices)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "|".join(self.choices)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.choices:
            self.fail(f"{self.name} {value!r} is unknown{nearest(str(value), self.choices)}", param, ctx)
        return value


class Choices(Choice):
    """Several names separated by commas."""

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "NAMES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        return tuple(super(Choices, self).convert(name.strip(), param, ctx) for name in str(value).split(","))


class ColumnNames(click.ParamType):
    """Columns of a table by name or number, separated by commas."""

    name = "COLUMNS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        columns = tuple(column.strip() for column in str(value).split(","))
        if not all(columns):
            self.fail(f"{value!r} is not a list of columns such as t,x or 1,2", param, ctx)
        return columns


class ProblemName(click.ParamType):
    """The name of a problem shipped with the library."""

    name = "problem"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in shipped_outlines():
            hint = hint_of_own(value) or nearest(value, shipped_outlines())
            self.fail(f"problem {value!r} is unknown{hint}", param, ctx)
        return value


def hint_of_own(value: str) -> str:
    """What to do about a problem or a model that is the file of a problem; empty if it is not."""
    try:
        return f"; for a problem of your own use the option --problem {parse_problem_file(value)}"
    except ValueError:
        return ""


class OwnProblem(click.ParamType):
    """The file of a problem of the user's own, which exists, and the problem's name."""

    name = "FILE.py:NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ProblemFile:
        if isinstance(value, ProblemFile):
            return value
        try:
            source = parse_problem_file(str(value))
            is_file, exists = source.file.is_file(), source.file.exists()
        except (ValueError, OSError, RuntimeError) as error:  # a path with a NUL character, or ~ without a home folder
            self.fail(str(error), param, ctx)
        if not is_file:
            self.fail(f"{source.path}: {'not a regular' if exists else 'no such'} file; give FILE.py:NAME", param, ctx)
        return source


FILE = click.Path(path_type=Path)
