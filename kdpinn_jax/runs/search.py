"""The smallest student that will do: many are begun, the promising ones trained on, the best of each price kept."""

import itertools
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from ..training.checkpoint import Checkpoint
from ..training.distill import IMITATE
from ..models.files import save
from ..evaluation.evaluate import evaluate
from ..models.model import Model
from ..pde.networks import MLP
from ..training.objective import init_params, objective
from ..training.recipes import recipe
from ..training.stages import Stage
from ..base.storage import atomic
from ..training.sweep import Member, sweep

#: Hidden widths, numbers of hidden layers and activations that are tried.
WIDTHS, DEPTHS, ACTIVATIONS = (4, 6, 8, 12, 16, 20, 28), (1, 2, 3), ("tanh",)
#: Engines by the names of ``bench``.
ENGINES = {"jit": "compile_predict", "c": "C"}
#: Steps of Levenberg–Marquardt between two looks at all; how many such turns each rung adds.
STEPS, RUNGS = 40, (1, 2, 4)


class Candidate(NamedTuple):
    """A student of a search.

    Attributes:
        name: activation and hidden widths, ``tanh-12-12``.
        model: the best of its seeds.
        error: its relative L2 error. latency: µs a call. rungs: how far it was trained.
    """

    name: str
    model: Model
    error: float
    latency: float
    rungs: int


class Search(NamedTuple):
    """What ``search`` finds.

    Attributes:
        candidates: all, the cheapest first.
        front: the names of those that no other beats in both error and latency.
        chosen: the cheapest that meets the budget, or the one that comes nearest to it.
        miss: by what factor it misses the budget: 1 at most where it meets it.
        teacher_error, teacher_latency: of the teacher, in the same engine.
        engine, points: what was timed.
    """

    candidates: tuple[Candidate, ...]
    front: tuple[str, ...]
    chosen: Candidate
    miss: float
    teacher_error: float
    teacher_latency: float
    engine: str
    points: int

    def rows(self) -> list[dict[str, Any]]:
        """A row a candidate, and the teacher's."""
        rows = [
            {
                "name": c.name,
                "role": "front" if c.name in self.front else "candidate",
                "layers": "-".join(map(str, c.model.layers)),
                "parameters": c.model.parameters,
                "relative_l2": c.error,
                "microseconds": c.latency,
                "ns_a_point": 1e3 * c.latency / self.points,
                "times_cheaper": self.teacher_latency / c.latency,
                "rungs": c.rungs,
                "chosen": c.name == self.chosen.name,
            }
            for c in self.candidates
        ]
        of_teacher = dict.fromkeys(rows[0], None) | {
            "name": "teacher",
            "role": "teacher",
            "relative_l2": self.teacher_error,
            "microseconds": self.teacher_latency,
            "ns_a_point": 1e3 * self.teacher_latency / self.points,
            "times_cheaper": 1.0,
        }
        return [*rows, of_teacher]


def search(
    teacher: Model,
    *,
    max_error: float | None = None,
    max_latency: float | None = None,
    engine: str = "jit",
    points: int = 10_000,
    widths: Sequence[int] = WIDTHS,
    depths: Sequence[int] = DEPTHS,
    activations: Sequence[str] = ACTIVATIONS,
    seeds: Sequence[int] = (0, 1),
    rungs: Sequence[int] = RUNGS,
    steps: int = STEPS,
    imitate: Sequence[Stage] = IMITATE,
    keep: float = 0.5,
    key: Callable[[int], Array] = jax.random.key,
    progress: bool | None = None,
    checkpoint: Checkpoint | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Search:
    """Distil a family of students from one teacher and find the smallest that meets a budget.

    Every network is distilled from each seed for a few steps; then, rung by rung, the better share of them is trained
    on: successive halving (Jamieson & Talwalkar 2016) by layers of the Pareto front of error and latency (the
    non-dominated sorting of Deb et al. 2002), so that a network stays if nothing as cheap is as good.

    Args:
        teacher: whose problem needs a reference to judge by.
        max_error: the relative L2 error that will do. max_latency: µs a call of ``points`` points. Either or both;
            without them the whole front is what comes of it, and the most accurate is chosen.
        engine: what is timed, ``"jit"`` (``compile_predict``) or ``"c"`` (the C export), on one core in float32.
        widths, depths, activations: the family: hidden layers of one width.
        seeds: the trainings of each network, side by side on all devices; the best counts.
        rungs: turns of ``steps`` steps that each rung adds. imitate: stages before the first. keep: the share of the
            networks that stays after each rung but the last.
        key: the random key of a seed. progress, checkpoint: as ``sweep``. say: gets a line before the timing and one a
            rung.

    Raises:
        ValueError: a budget that is not positive, an unknown engine, an empty family, or no reference.
        RuntimeError: the engine is not there (no compiler). TrainingInterrupted, CheckpointError: as ``sweep``.
    """
    for name, value in (("max_error", max_error), ("max_latency", max_latency)):
        if value is not None and not value > 0:
            raise ValueError(f"search: {name}={value} must be positive")
    if engine not in ENGINES:
        raise ValueError(f"search: engine={engine!r} is unknown; use {' or '.join(ENGINES)}")
    if not 0 < keep <= 1:
        raise ValueError(f"search: keep={keep} must be above 0 and at most 1")
    if teacher.problem.reference is None:
        raise ValueError(f"search: problem {teacher.problem.name!r} has no reference solution to judge students by")
    networks = {
        "-".join(map(str, (activation, *[width] * depth))): MLP((width,) * depth, activation)
        for activation, depth, width in itertools.product(activations, depths, widths)
    }
    if not (networks and seeds and rungs):
        raise ValueError("search: widths, depths, activations, seeds or rungs is empty; give at least one of each")
    say(f"timing {len(networks)} networks and the teacher by {engine} on one core; run nothing else meanwhile")
    latency = _latency(teacher, networks, engine, points, checkpoint)
    best: dict[str, Candidate] = {}
    starts: dict[tuple[str, int], Any] = {}
    names = list(networks)
    for rung, turns in enumerate(rungs):
        pairs = list(itertools.product(names, seeds))
        members = [_member(teacher, networks[n], seed, turns, steps, starts.get((n, seed))) for n, seed in pairs]
        models = sweep(
            teacher,
            members,
            imitate=() if rung else imitate,
            key=key,
            progress=progress,
            checkpoint=checkpoint and replace(checkpoint, folder=Path(checkpoint.folder) / f"rung-{rung}"),
        )
        for (name, seed), model in zip(pairs, models, strict=True):
            starts[name, seed] = model.params
            error = evaluate(model).relative_l2
            if name not in best or error < best[name].error:
                best[name] = Candidate(name, model, error, latency[name], rung + 1)
        tried = [best[name] for name in names]
        least = min(candidate.error for candidate in tried)
        say(f"rung {rung + 1} of {len(rungs)}: {len(names)} networks, the smallest error {least:.1e}")
        names = [candidate.name for candidate in promising(tried, max(1, round(keep * len(names))))]
    candidates = tuple(sorted(best.values(), key=lambda c: (c.latency, c.error)))
    chosen, miss = choice(candidates, max_error, max_latency)
    return Search(
        candidates,
        tuple(c.name for c in _front(candidates)),
        chosen,
        miss,
        evaluate(teacher).relative_l2,
        latency[_TEACHER],
        engine,
        points,
    )


_TEACHER = "teacher"


def _member(teacher: Model, network: MLP, seed: int, turns: int, steps: int, start: Any) -> Member:
    """The same stage in every rung, so that a network is compiled once."""
    (stage,) = recipe(teacher.problem, "default", "quick", network=network).student
    return Member(seed, network, (replace(stage, steps=steps),) * turns, start=start)  # pyright: ignore[reportArgumentType]


def _latency(
    teacher: Model, networks: Mapping[str, MLP], engine: str, points: int, checkpoint: Checkpoint | None
) -> dict[str, float]:
    """µs a call of each network, untrained, and of the teacher: weights take the same time whatever they are. A search
    that goes on keeps what it had measured, since it would otherwise choose differently."""
    kept = checkpoint and Path(checkpoint.folder) / "latency.json"
    if kept and checkpoint and checkpoint.resume and kept.is_file():
        return {str(name): float(value) for name, value in json.loads(kept.read_text()).items()}
    from ..serving.bench import bench, measured  # it imports much that a training does not need
    from ..problems import ALL

    models = {_TEACHER: teacher}
    for name, network in networks.items():
        target = objective(teacher.problem, network)
        params = init_params(target.problem, target.network, jax.random.key(0))
        models[name] = Model(target.problem, target.network, params, teacher.coefficients)
    method = ENGINES[engine]
    if teacher.problem.name in ALL:
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{name}.safetensors" for name in models]
            for path, model in zip(paths, models.values(), strict=True):
                save(model, path)
            found = bench(paths, sizes=(points,), methods=(method,))
    else:  # a problem of the caller's own, which a process that measures on one core could not load
        found = measured(models, (points,), (method,))
    if method not in found["sizes"].get(str(points), {}):
        raise RuntimeError(f"search: engine {engine!r} cannot be timed: {found['missing'].get(method, 'no result')}")
    latency = {name: float(of["median"]) for name, of in found["sizes"][str(points)][method].items()}
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with atomic(kept) as temporary:
            temporary.write_text(json.dumps(latency))
    return latency


def _front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that no other beats in one of error and latency and equals in the other; the cheapest first."""
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.latency, c.error)):
        if not front or candidate.error < front[-1].error:
            front.append(candidate)
    return front


def promising(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """So many of them: the front, the front of the rest, and so on; of the one that is too large a part spread evenly
    over it, the most accurate first."""
    left, kept = list(candidates), []
    while left and len(kept) < count:
        layer = _front(left)
        left = [candidate for candidate in left if candidate not in layer]
        places = np.linspace(len(layer) - 1, 0, min(count - len(kept), len(layer))).round().astype(int)
        kept += [layer[place] for place in places]
    return kept


def choice(
    candidates: Sequence[Candidate], max_error: float | None, max_latency: float | None
) -> tuple[Candidate, float]:
    """The cheapest that meets the budget; else the one that misses it by the smallest factor; and that factor."""

    def miss(c: Candidate) -> float:
        return max(c.error / (max_error or np.inf), c.latency / (max_latency or np.inf))

    within = [c for c in candidates if miss(c) <= 1]
    # Without an error to reach it is the most accurate that the latency allows.
    wanted = (lambda c: c.error) if max_error is None else (lambda c: c.latency)
    best = min(within, key=wanted) if within else min(candidates, key=miss)
    return best, miss(best)
