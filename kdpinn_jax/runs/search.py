"""``search``: the smallest student within a budget, by successive halving over a family of networks."""

import itertools
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from ..base.storage import atomic
from ..base.types import Params
from ..evaluation.evaluate import evaluate
from ..models.files import save
from ..models.model import Model, init_params
from ..pde.networks import MLP
from ..problems import ALL
from ..serving.bench.measure import measure, prepare
from ..training.checkpoint import Checkpoint
from ..training.distill import IMITATE
from ..training.objective import objective
from ..training.recipes import recipe
from ..training.stages import LevenbergMarquardt, Stage
from ..training.sweep import Member, sweep
from .bench import bench

#: Engines by the names of the benchmark's methods.
ENGINES = {"jit": "compile_predict", "c": "C"}
_TEACHER = "teacher"


@dataclass(frozen=True)
class Budget:
    """What a student must achieve.

    Attributes:
        max_error: the largest acceptable relative L2 error, or None.
        max_latency: the largest acceptable time in µs per call of ``points`` points, or None.
        engine: what is timed, ``"jit"`` (``compile_predict``) or ``"c"`` (the C export), on one core in float32.
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
    """The networks that are tried: every combination, with hidden layers of equal width.

    Attributes:
        widths: hidden widths.
        depths: numbers of hidden layers.
        activations: as in ``MLP``.

    Raises:
        ValueError: one of them is empty.
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
    """How training effort is allocated: in each rung the remaining networks are trained on, and some are dropped.

    Attributes:
        rungs: how many turns each rung adds.
        steps: Levenberg–Marquardt steps per turn.
        keep: the fraction of the networks that remains after each rung but the last.
        seeds: the trainings of each network, side by side on all devices; the best one counts.
        imitate: stages before the first rung.

    Raises:
        ValueError: no rungs or seeds, or a fraction out of range.
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


class Candidate(NamedTuple):
    """A student of a search.

    Attributes:
        name: activation and hidden widths, ``tanh-12-12``.
        model: the best of its seeds.
        error: its relative L2 error.
        latency: in µs per call.
        rungs: the number of rungs that it was trained for.
    """

    name: str
    model: Model
    error: float
    latency: float
    rungs: int


class Search(NamedTuple):
    """The result of ``search``.

    Attributes:
        candidates: all students, cheapest first.
        front: the names of the Pareto front of error and latency.
        chosen: the cheapest one within the budget, or the one closest to it.
        miss: the factor by which ``chosen`` misses the budget; at most 1 if it is within.
        teacher_error: relative L2 error of the teacher.
        teacher_latency: of the teacher in the same engine, in µs per call.
        budget: as given.
    """

    candidates: tuple[Candidate, ...]
    front: tuple[str, ...]
    chosen: Candidate
    miss: float
    teacher_error: float
    teacher_latency: float
    budget: Budget

    def rows(self) -> list[dict[str, Any]]:
        """One row per candidate, and one for the teacher."""
        per_point = lambda latency: 1e3 * latency / self.budget.points
        rows = [
            {
                "name": c.name,
                "role": "front" if c.name in self.front else "candidate",
                "layers": "-".join(map(str, c.model.layers)),
                "parameters": c.model.parameters,
                "relative_l2": c.error,
                "microseconds": c.latency,
                "ns_per_point": per_point(c.latency),
                "times_cheaper": self.teacher_latency / c.latency,
                "rungs": c.rungs,
                "chosen": c.name == self.chosen.name,
            }
            for c in self.candidates
        ]
        teacher = dict.fromkeys(rows[0], None) | {
            "name": "teacher",
            "role": "teacher",
            "relative_l2": self.teacher_error,
            "microseconds": self.teacher_latency,
            "ns_per_point": per_point(self.teacher_latency),
            "times_cheaper": 1.0,
        }
        return [*rows, teacher]


def search(
    teacher: Model,
    budget: Budget = Budget(),
    *,
    family: NetworkFamily = NetworkFamily(),
    halving: SuccessiveHalving = SuccessiveHalving(),
    key: Callable[[int], Array] = jax.random.key,
    progress: bool | None = None,
    checkpoint: Checkpoint | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Search:
    """Distil a family of students from one teacher and find the smallest one within a budget.

    Every network is distilled from each seed for a few steps. Rung by rung, the better part of them is trained on:
    successive halving (Jamieson & Talwalkar 2016) by layers of the Pareto front of error and latency (the non-dominated
    sorting of Deb et al. 2002), so that a network remains unless another is at least as cheap and as accurate.

    Args:
        teacher: its problem must have a reference.
        budget: without limits the most accurate student is chosen.
        family: the networks that are tried.
        halving: how they are trained.
        key: the random key of a seed.
        progress: as in ``fit``.
        checkpoint: as in ``sweep``.
        say: receives one line before the timing and one per rung.

    Raises:
        ValueError: the teacher's problem has no reference.
        RuntimeError: the engine is not available (no compiler).
        TrainingInterrupted, CheckpointError: as in ``sweep``.
    """
    if teacher.problem.reference is None:
        raise ValueError(f"search: problem {teacher.problem.name!r} has no reference solution to measure errors against")
    networks = family.networks()
    say(f"timing {len(networks)} networks and the teacher by {budget.engine} on one core; keep the machine idle")
    latency = _latency(teacher, networks, budget, checkpoint)
    best: dict[str, Candidate] = {}
    starts: dict[tuple[str, int], Params] = {}
    names = list(networks)
    for rung, turns in enumerate(halving.rungs):
        pairs = list(itertools.product(names, halving.seeds))
        members = [_member(teacher, networks[n], seed, turns, halving.steps, starts.get((n, seed))) for n, seed in pairs]
        models = sweep(
            teacher,
            members,
            imitate=() if rung else halving.imitate,
            key=key,
            progress=progress,
            checkpoint=checkpoint and replace(checkpoint, folder=Path(checkpoint.folder) / f"rung-{rung}"),
        )
        for (name, seed), model in zip(pairs, models, strict=True):
            starts[name, seed] = model.params
            error = evaluate(model).relative_l2
            if name not in best or error < best[name].error:
                best[name] = Candidate(name, model, error, latency[name], rung + 1)
        trained = [best[name] for name in names]
        least = min(candidate.error for candidate in trained)
        say(f"rung {rung + 1} of {len(halving.rungs)}: {len(names)} networks, smallest error {least:.1e}")
        names = [candidate.name for candidate in promising(trained, max(1, round(halving.keep * len(names))))]
    candidates = tuple(sorted(best.values(), key=lambda c: (c.latency, c.error)))
    chosen, miss = choose(candidates, budget)
    return Search(
        candidates,
        tuple(c.name for c in _front(candidates)),
        chosen,
        miss,
        evaluate(teacher).relative_l2,
        latency[_TEACHER],
        budget,
    )


def _member(teacher: Model, network: MLP, seed: int, turns: int, steps: int, start: Params | None) -> Member:
    """Every rung uses the same stage, so that a network is compiled once."""
    (stage,) = recipe(teacher.problem, "default", "quick", network=network).student
    assert isinstance(stage, LevenbergMarquardt)
    return Member(seed, network, (replace(stage, steps=steps),) * turns, start=start)


def _latency(
    teacher: Model, networks: Mapping[str, MLP], budget: Budget, checkpoint: Checkpoint | None
) -> dict[str, float]:
    """µs per call of each untrained network and of the teacher: the time does not depend on the weights.

    A resumed search uses the times that it measured first, because others could lead to other choices.
    """
    stored = checkpoint and Path(checkpoint.folder) / "latency.json"
    if stored and checkpoint and checkpoint.resume and stored.is_file():
        return {str(name): float(value) for name, value in json.loads(stored.read_text()).items()}
    models = {_TEACHER: teacher}
    for name, network in networks.items():
        target = objective(teacher.problem, network)
        params = init_params(target.problem, target.network, jax.random.key(0))
        models[name] = Model(target.problem, target.network, params, teacher.coefficients)
    method, size = ENGINES[budget.engine], str(budget.points)
    if teacher.problem.name in ALL:
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{name}.safetensors" for name in models]
            for path, model in zip(paths, models.values(), strict=True):
                save(model, path)
            result = bench(paths, sizes=(budget.points,), methods=(method,))
    else:  # the caller's own problem, which another process could not load
        result = measure(prepare(models, (budget.points,), (method,)))
    if method not in result["sizes"].get(size, {}):
        raise RuntimeError(f"search: cannot time engine {budget.engine!r}: {result['missing'].get(method, 'no result')}")
    latency = {name: float(times["median"]) for name, times in result["sizes"][size][method].items()}
    if stored:
        stored.parent.mkdir(parents=True, exist_ok=True)
        with atomic(stored) as temporary:
            temporary.write_text(json.dumps(latency))
    return latency


def _front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The Pareto front of error and latency, cheapest first."""
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.latency, c.error)):
        if not front or candidate.error < front[-1].error:
            front.append(candidate)
    return front


def promising(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """``count`` candidates: the front, then the front of the others, and so on. From a layer that is too large, evenly
    spread ones are taken, the most accurate first."""
    left, kept = list(candidates), []
    while left and len(kept) < count:
        layer = _front(left)
        left = [candidate for candidate in left if candidate not in layer]
        places = np.linspace(len(layer) - 1, 0, min(count - len(kept), len(layer))).round().astype(int)
        kept += [layer[place] for place in places]
    return kept


def choose(candidates: Sequence[Candidate], budget: Budget) -> tuple[Candidate, float]:
    """The cheapest candidate within the budget, or the one that misses it by the smallest factor; and that factor."""

    def miss(c: Candidate) -> float:
        return max(c.error / (budget.max_error or np.inf), c.latency / (budget.max_latency or np.inf))

    within = [c for c in candidates if miss(c) <= 1]
    # Without a limit on the error, the most accurate candidate that the latency allows.
    cost = (lambda c: c.error) if budget.max_error is None else (lambda c: c.latency)
    best = min(within, key=cost) if within else min(candidates, key=miss)
    return best, miss(best)
