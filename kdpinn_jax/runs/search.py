"""``search``: the smallest student within a budget, by successive halving over a family of networks."""

import itertools
import json
import operator
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from ..base.problem_file import ProblemFile
from ..base.storage import write_json
from ..base.types import Params
from ..evaluation.evaluate import evaluate
from ..models.files import save
from ..models.model import Model, init_params
from ..pde.fingerprint import NoFingerprint
from ..pde.networks import MLP
from ..problems.load import is_shipped
from ..serving.bench.measure import measure, prepare
from ..training.checkpoint import Checkpoint, CheckpointError
from ..training.objective import objective
from ..training.recipes import recipe
from ..training.stages import LevenbergMarquardt
from ..training.sweep import Member, sweep
from .bench import bench
from .search_plan import ENGINES, Budget, NetworkFamily, SuccessiveHalving

_TEACHER = "teacher"


class Candidate(NamedTuple):
    """A student of a search.

    Attributes:
        name: activation and hidden widths, ``tanh-12-12``.
        model: the model from the best seed.
        error: its relative L2 error.
        latency: µs per call.
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
        front: the names of the students on the Pareto front of error and latency.
        chosen: the cheapest student within the budget, or the one closest to it.
        miss: the factor by which ``chosen`` misses the budget; at most 1 if it meets the budget.
        teacher_error: the relative L2 error of the teacher.
        teacher_latency: µs per call of the teacher in the same engine.
        budget: the budget of the search.
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
    source: ProblemFile | None = None,
) -> Search:
    """Distil a family of students from one teacher and find the smallest one within a budget.

    Every network is first distilled from each seed for a few steps. After each rung the better networks are trained
    further, by successive halving (Jamieson & Talwalkar 2016). The networks are ranked by layers of the Pareto front of
    error and latency (the non-dominated sorting of Deb et al. 2002), so that a network remains unless another is at
    least as cheap and as accurate.

    Args:
        teacher: the teacher of all students; its problem must have a reference.
        budget: the limits on error and latency; without limits the most accurate student is chosen.
        family: the networks to try.
        halving: how the networks are trained.
        key: the random key of a seed.
        progress: as in ``fit``.
        checkpoint: as in ``sweep``.
        say: receives one line before the timing and one per rung.
        source: the file of a problem that is not shipped, which the process that measures latency executes. Without it
            the latency of such a problem is measured in this process, and not on one core.

    Raises:
        ValueError: the teacher's problem has no reference.
        RuntimeError: the engine is not available, for example because there is no compiler.
        TrainingInterrupted: as in ``sweep``.
        CheckpointError: as in ``sweep``.
    """
    if teacher.problem.reference is None:
        raise ValueError(
            f"search: problem {teacher.problem.name!r} has no reference solution, which the search requires to measure "
            "errors; give the problem a reference"
        )
    networks = family.networks()
    say(f"timing {len(networks)} networks and the teacher with {budget.engine} on one core; keep the machine idle")
    latency = _latency(teacher, networks, budget, checkpoint, source)
    best: dict[str, Candidate] = {}
    starts: dict[tuple[str, int], Params] = {}
    names = list(networks)
    for rung, rounds in enumerate(halving.rungs):
        pairs = list(itertools.product(names, halving.seeds))
        members = [
            _member(teacher, networks[name], seed, rounds, halving.steps, starts.get((name, seed)))
            for name, seed in pairs
        ]
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
        smallest = min(candidate.error for candidate in trained)
        say(f"rung {rung + 1} of {len(halving.rungs)}: {len(names)} networks, smallest error {smallest:.1e}")
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


def _member(teacher: Model, network: MLP, seed: int, rounds: int, steps: int, start: Params | None) -> Member:
    """The training of one network in one rung. Every rung uses the same stage, so that a network is compiled once."""
    (stage,) = recipe(teacher.problem, "default", "quick", network=network).student
    assert isinstance(stage, LevenbergMarquardt)
    return Member(seed, network, (replace(stage, steps=steps),) * rounds, start=start)


def _latency(
    teacher: Model,
    networks: Mapping[str, MLP],
    budget: Budget,
    checkpoint: Checkpoint | None,
    source: ProblemFile | None = None,
) -> dict[str, float]:
    """µs per call of each network and of the teacher.

    A resumed search uses the times that it measured first, because different times could change its choices.

    Raises:
        CheckpointError: the stored times are damaged, or those of another search.
    """
    if checkpoint is None:
        return _measure_latency(teacher, networks, budget, source)
    path, timed = Path(checkpoint.folder) / "latency.json", _timed(teacher, networks, budget)
    if checkpoint.resume and path.is_file():
        try:
            content = json.loads(path.read_text())
            latency = {str(name): float(value) for name, value in content["microseconds"].items()}
            differing = [name for name, value in timed.items() if content["timed"][name] != value]
        except (ValueError, TypeError, AttributeError, KeyError):
            raise CheckpointError(f"{path} is damaged; delete {path.parent} to start again") from None
        if differing or latency.keys() != {_TEACHER, *networks}:
            raise CheckpointError(
                f"{path} holds the latency of a search that differs in {' and '.join(differing) or 'networks'}; repeat "
                f"the original call, or delete {path.parent} to start again"
            )
        return latency
    latency = _measure_latency(teacher, networks, budget, source)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json({"timed": timed, "microseconds": latency}, path)
    return latency


def _timed(teacher: Model, networks: Mapping[str, MLP], budget: Budget) -> dict[str, Any]:
    """What the latency depends on, for JSON."""
    try:
        functions = teacher.problem.fingerprints.functions
    except NoFingerprint as reason:
        raise CheckpointError(f"checkpoint: {reason}; search without a checkpoint") from None
    functions = {name: digest for name, digest in functions.items() if name != "inside"}
    return {
        "embedding or ansatz": functions,
        "the teacher's network": [*teacher.layers, teacher.network.activation],
        "engine": budget.engine,
        "points": budget.points,
    }


def _measure_latency(
    teacher: Model, networks: Mapping[str, MLP], budget: Budget, source: ProblemFile | None
) -> dict[str, float]:
    """Time the teacher and untrained networks: the time does not depend on the weights."""
    models = {_TEACHER: teacher}
    for name, network in networks.items():
        target = objective(teacher.problem, network)
        params = init_params(target.problem, target.network, jax.random.key(0))
        models[name] = Model(target.problem, target.network, params, teacher.coefficients)
    method, size = ENGINES[budget.engine], str(budget.points)
    if source or is_shipped(teacher.problem):
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{name}.safetensors" for name in models]
            for path, model in zip(paths, models.values(), strict=True):
                save(model, path)
            result = bench(paths, sizes=(budget.points,), methods=(method,), problems=[source] if source else [])
    else:  # the caller's own problem, which another process could not load
        result = measure(prepare(models, (budget.points,), (method,)))
    if method not in result["sizes"].get(size, {}):
        reason = result["missing"].get(method, "no result")
        raise RuntimeError(f"search: cannot time engine {budget.engine!r}: {reason}")
    return {name: float(times["median"]) for name, times in result["sizes"][size][method].items()}


def _front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The Pareto front of error and latency, cheapest first."""
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.latency, c.error)):
        if not front or candidate.error < front[-1].error:
            front.append(candidate)
    return front


def promising(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """``count`` candidates: the Pareto front, then the front of the others, and so on.

    If a layer has too many candidates, evenly spaced ones are selected, the most accurate first.
    """
    remaining, selected = list(candidates), []
    while remaining and len(selected) < count:
        layer = _front(remaining)
        remaining = [candidate for candidate in remaining if candidate not in layer]
        indices = np.linspace(len(layer) - 1, 0, min(count - len(selected), len(layer))).round().astype(int)
        selected += [layer[index] for index in indices]
    return selected


def choose(candidates: Sequence[Candidate], budget: Budget) -> tuple[Candidate, float]:
    """The best candidate for a budget, and the factor by which it misses the budget (at most 1 if it meets it).

    The best candidate is the cheapest one within the budget or, without a limit on the error, the most accurate one
    within it. If no candidate is within the budget, it is the one that misses the budget by the smallest factor.
    """

    def miss(c: Candidate) -> float:
        return max(c.error / (budget.max_error or np.inf), c.latency / (budget.max_latency or np.inf))

    within = [c for c in candidates if miss(c) <= 1]
    cost = operator.attrgetter("error" if budget.max_error is None else "latency")
    best = min(within, key=cost) if within else min(candidates, key=miss)
    return best, miss(best)
