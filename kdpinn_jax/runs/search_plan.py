"""The plan of a search: its budget, the networks that it tries, and how it trains them."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from ..pde.networks import MLP
from ..training.plan import IMITATE
from ..training.stages import Stage

#: ``{engine: method of the benchmark}``.
ENGINES = {"jit": "compile_predict", "c": "C"}


@dataclass(frozen=True)
class Budget:
    """The limits that a student must meet.

    Attributes:
        max_error: the largest acceptable relative L2 error, or None.
        max_latency: the largest acceptable time in µs per call with ``points`` points, or None.
        engine: the program to time on one core in float32, ``"jit"`` (``compile_predict``) or ``"c"`` (the C export).
        points: points per call.

    Raises:
        ValueError: a number that is not positive, or an unknown engine.
    """

    max_error: float | None = None
    max_latency: float | None = None
    engine: str = "jit"
    points: int = 10_000

    def __post_init__(self) -> None:
        for name in ("max_error", "max_latency", "points"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"Budget: {name}={value} must be positive")
        if self.engine not in ENGINES:
            raise ValueError(f"Budget: engine={self.engine!r} is unknown; use {' or '.join(ENGINES)}")


@dataclass(frozen=True)
class NetworkFamily:
    """The networks to try: every combination of width, depth and activation, with hidden layers of equal width.

    Attributes:
        widths: hidden widths.
        depths: numbers of hidden layers.
        activations: as in ``MLP``.

    Raises:
        ValueError: widths, depths or activations is empty.
    """

    widths: Sequence[int] = (4, 6, 8, 12, 16, 20, 28)
    depths: Sequence[int] = (1, 2, 3)
    activations: Sequence[str] = ("tanh",)

    def __post_init__(self) -> None:
        if not (self.widths and self.depths and self.activations):
            raise ValueError("NetworkFamily: widths, depths or activations is empty; give at least one of each")

    def networks(self) -> dict[str, MLP]:
        """The networks by name, ``tanh-12-12``."""
        return {
            "-".join(map(str, (activation, *[width] * depth))): MLP((width,) * depth, activation)
            for activation, depth, width in itertools.product(self.activations, self.depths, self.widths)
        }


@dataclass(frozen=True)
class SuccessiveHalving:
    """How training effort is allocated: each rung trains the remaining networks further, and then drops some of them.

    Attributes:
        rungs: the number of rounds of training in each rung.
        steps: Levenberg–Marquardt steps per round.
        keep: the fraction of the networks that remains after each rung except the last.
        seeds: one training of each network per seed, in parallel on all devices; the best one counts.
        imitate: stages before the first rung.

    Raises:
        ValueError: rungs or seeds is empty, or keep is not in (0, 1].
    """

    rungs: Sequence[int] = (1, 2, 4)
    steps: int = 40
    keep: float = 0.5
    seeds: Sequence[int] = (0, 1)
    imitate: Sequence[Stage] = IMITATE

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(f"SuccessiveHalving: keep={self.keep} must be greater than 0 and at most 1")
        if not (self.rungs and self.seeds):
            raise ValueError("SuccessiveHalving: rungs or seeds is empty; give at least one of each")
