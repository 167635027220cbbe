"""What ``kdpinn sweep`` and ``kdpinn search`` do: members by the options, and the files that record their outcome."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from ..models.files import save
from ..base.lock import only_writer
from ..training.members import members, ranked, table
from ..evaluation.evaluate import evaluate
from ..models.model import Model
from ..pde.networks import MLP
from ..pde.problem import Problem
from ..training.recipes import Recipe, recipe
from ..models.report import TrainingInterrupted
from .result import Options, write_json
from .run import CHECKPOINTS, checkpoint_in, imitation, where_interrupted
from .search import search
from ..base.storage import write_csv
from ..training.sweep import Member, sweep


def members_by(source: Problem | Model, options: Options, varied: Mapping[str, Sequence[Any]]) -> list[Member]:
    """The members of these options.

    Raises:
        ValueError: as ``members``; a quantity that is both given and varied.
    """
    for name in varied:
        if name in options.weights or name in options.coefficients:
            raise ValueError(f"{name} is given one value and varied; leave one out")
    network, chosen = _network_and_recipe(source, options)
    stages = chosen.student if isinstance(source, Model) else chosen.teacher
    weights = dict(chosen.weights if isinstance(source, Model) else {}) | dict(options.weights)
    made = members(source, network=network, stages=stages, **{"seed": [options.seed], **varied})
    return [
        replace(
            member,
            weights=weights | dict(member.weights),
            coefficients=dict(options.coefficients) | dict(member.coefficients),
            varied={name: member.varied[name] for name in varied},
        )
        for member in made
    ]


def _network_and_recipe(source: Problem | Model, options: Options) -> tuple[MLP, Recipe]:
    problem, default = (
        (source.problem, source.problem.student) if isinstance(source, Model) else (source, source.teacher)
    )
    network = MLP(options.layers or default.hidden, options.activation or default.activation)
    return network, recipe(problem, options.recipe, options.preset, network=network)


def run_sweep(
    source: Problem | Model,
    made: Sequence[Member],
    out: Path,
    options: Options,
    *,
    keep: int,
    chunk: int | None,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Train the members and write it all into ``out``: sweep.csv, sweep.json, sweep.png and the best models.

    Where several processes run it, the first one writes. Returns the table's rows.

    Raises:
        RuntimeError: another run writes into ``out``. CheckpointError: ``options.resume``, and no way to go on.
    """
    from ..evaluation import plots  # matplotlib takes half a second to import

    first = jax.process_index() == 0
    with only_writer(out) if first else contextlib.nullcontext(), _resumable():
        network, chosen = _network_and_recipe(source, options)
        student = isinstance(source, Model)
        alone = chosen.student_seconds if student else chosen.teacher_seconds
        checkpoint = checkpoint_in(out / CHECKPOINTS, options, say)
        models = sweep(
            source,
            made,
            network=network,
            imitate=imitation(source, chosen) if isinstance(source, Model) else (),
            stages=chosen.student if student else chosen.teacher,
            chunk=chunk,
            # The seeds of run, train and distill.
            key=lambda seed: jax.random.split(jax.random.key(seed))[int(student)],
            time_budget=options.time_budget or alone * -(-len(made) // jax.device_count()),
            progress=options.progress,
            checkpoint=checkpoint,
        )
        found = [evaluate(model) for model in models]
        rows = table(made, models, found)
        if first:
            best = ranked(rows)[:keep]
            for old in out.glob("member-*.safetensors"):
                old.unlink()
            for i in best:
                save(models[i], out / f"member-{i:03d}.safetensors", metrics=found[i])
            write_csv(out / "sweep.csv", list(rows[0]), rows)
            write_json({"problem": models[0].problem.name, "best": best, "members": rows}, out / "sweep.json")
            plots.sweep(rows, list(made[0].varied), out / "sweep.png")
            checkpoint.remove()
    return rows


def run_search(
    teacher: Model, out: Path, options: Options, *, say: Callable[[str], None], **budget_and_family: Any
) -> dict[str, Any]:
    """Search and write it all into ``out``: search.csv, search.json, search.png, the models of the front as
    NAME.safetensors and the chosen one as student.safetensors. Returns search.json's content.

    Raises:
        RuntimeError: another run writes into ``out``, or no compiler. CheckpointError: as ``run_sweep``.
    """
    from ..evaluation import plots  # matplotlib takes half a second to import

    with only_writer(out), _resumable():
        checkpoint = checkpoint_in(out / CHECKPOINTS, options, say)
        found = search(
            teacher,
            imitate=imitation(teacher, recipe(teacher.problem)),
            key=lambda seed: jax.random.split(jax.random.key(seed))[1],
            progress=options.progress,
            checkpoint=checkpoint,
            say=say,
            **budget_and_family,
        )
        rows = found.rows()
        kept = {c.name: c.model for c in found.candidates if c.name in found.front or c.name == found.chosen.name}
        metrics = {name: evaluate(model) for name, model in kept.items()}
        for candidate in found.candidates:
            (out / f"{candidate.name}.safetensors").unlink(missing_ok=True)
        for name in found.front:
            save(kept[name], out / f"{name}.safetensors", metrics=metrics[name])
        save(found.chosen.model, out / "student.safetensors", metrics=metrics[found.chosen.name])
        write_csv(out / "search.csv", list(rows[0]), rows)
        content = {
            "problem": teacher.problem.name,
            "engine": found.engine,
            "points": found.points,
            "chosen": found.chosen.name,
            "miss": found.miss,
            "candidates": rows,
        }
        write_json(content, out / "search.json")
        plots.front(rows, out / "search.png", engine=found.engine, points=found.points)
        checkpoint.remove()
    return content


@contextlib.contextmanager
def _resumable() -> Iterator[None]:
    """Ctrl-C during the trainings says how to go on."""
    try:
        yield
    except TrainingInterrupted as interrupted:
        raise KeyboardInterrupt(f"{where_interrupted(interrupted)}; --resume goes on") from None
