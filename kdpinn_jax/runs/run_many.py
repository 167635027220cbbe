"""``kdpinn sweep`` and ``kdpinn search``: members built from options, and the files that record the results."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from ..base.lock import only_writer
from ..base.problem_file import ProblemFile
from ..base.storage import write_csv, write_json
from ..evaluation import plots
from ..evaluation.evaluate import evaluate
from ..models.files import save
from ..models.model import Model
from ..models.report import TrainingInterrupted
from ..pde.networks import MLP
from ..pde.problem import Problem
from ..training.members import members, rank, sweep_table
from ..training.recipes import Recipe, recipe
from ..training.sweep import Member, sweep
from .options import Options
from .run import CHECKPOINTS, Say, checkpoint_in, imitation, network_with, stages_with, where_interrupted
from .search import search
from .search_plan import Budget, NetworkFamily, SuccessiveHalving


def members_with(source: Problem | Model, options: Options, varied: Mapping[str, Sequence[Any]]) -> list[Member]:
    """The members of the sweep that these options describe.

    Args:
        source: the problem, or the teacher of the students.
        options: the options that all members share.
        varied: ``{name: values}``; every combination is a member.

    Raises:
        ValueError: as in ``members``, or a quantity that is both fixed and varied.
    """
    for name in varied:
        if name in options.weights or name in options.coefficients:
            raise ValueError(f"{name} is both fixed and varied; remove one of the two options")
    network, chosen = _network_and_recipe(source, options)
    stages = chosen.student if isinstance(source, Model) else chosen.teacher
    weights = dict(chosen.weights if isinstance(source, Model) else {}) | dict(options.weights)
    return [
        replace(
            member,
            weights=weights | dict(member.weights),
            coefficients=dict(options.coefficients) | dict(member.coefficients),
            varied={name: member.varied[name] for name in varied},
        )
        for member in members(source, network=network, stages=stages, **{"seed": [options.seed], **varied})
    ]


def _network_and_recipe(source: Problem | Model, options: Options) -> tuple[MLP, Recipe]:
    problem, default = (
        (source.problem, source.problem.student) if isinstance(source, Model) else (source, source.teacher)
    )
    network = network_with(default, options.layers, options.activation)
    return network, recipe(problem, options.recipe, options.preset, network=network)


def run_sweep(
    source: Problem | Model,
    members: Sequence[Member],
    out: Path,
    options: Options,
    *,
    keep: int,
    chunk: int | None,
) -> list[dict[str, Any]]:
    """Train the members and write sweep.csv, sweep.json, sweep.png and the best models to ``out``.

    If several processes run it, only the first one writes.

    Args:
        source: the problem, or the teacher of the students.
        members: as returned by ``members_with``.
        out: the output folder; created if necessary.
        options: the options that all members share.
        keep: the number of best models to save.
        chunk: as in ``sweep``.

    Returns:
        The rows of the table.

    Raises:
        RuntimeError: another run is writing into ``out``.
        CheckpointError: ``options.resume`` is set, and the checkpoint cannot be resumed.
    """
    is_first = jax.process_index() == 0
    with only_writer(out) if is_first else contextlib.nullcontext(), _resumable():
        network, chosen = _network_and_recipe(source, options)
        is_student = isinstance(source, Model)
        seconds = chosen.student_seconds if is_student else chosen.teacher_seconds
        checkpoint = checkpoint_in(out / CHECKPOINTS, options)
        models = sweep(
            source,
            members,
            network=network,
            imitate=imitation(source, chosen) if isinstance(source, Model) else (),
            stages=stages_with(options, chosen.student if is_student else chosen.teacher),
            chunk=chunk,
            # The same keys as in run, train and distill.
            key=lambda seed: jax.random.split(jax.random.key(seed))[int(is_student)],
            time_budget=options.time_budget or seconds * -(-len(members) // jax.device_count()),
            progress=options.progress,
            checkpoint=checkpoint,
        )
        metrics = [evaluate(model) for model in models]
        rows = sweep_table(members, models, metrics)
        if is_first:
            best = rank(rows)[:keep]
            for earlier in out.glob("member-*.safetensors"):
                earlier.unlink()
            for i in best:
                save(models[i], out / f"member-{i:03d}.safetensors", metrics=metrics[i])
            write_csv(out / "sweep.csv", list(rows[0]), rows)
            write_json({"problem": models[0].problem.name, "best": best, "members": rows}, out / "sweep.json")
            plots.sweep(rows, list(members[0].varied), out / "sweep.png")
            checkpoint.remove()
    return rows


def run_search(
    teacher: Model,
    out: Path,
    options: Options,
    budget: Budget,
    family: NetworkFamily,
    halving: SuccessiveHalving,
    *,
    say: Say,
    source: ProblemFile | None = None,
) -> dict[str, Any]:
    """Search for the smallest student and write the results to ``out``.

    The files are search.csv, search.json, search.png, the models of the Pareto front as NAME.safetensors, and the
    chosen one as student.safetensors.

    Args:
        teacher: the teacher of all students.
        out: the output folder; created if necessary.
        options: the options for progress and checkpoints.
        budget: the limits on error and latency.
        family: the networks to try.
        halving: how the networks are trained; its ``imitate`` is replaced by the recipe's.
        say: receives one line per step of the search.
        source: as in ``search``.

    Returns:
        The content of search.json.

    Raises:
        RuntimeError: another run is writing into ``out``, or the engine is not available.
        CheckpointError: as in ``run_sweep``.
    """
    with only_writer(out), _resumable():
        checkpoint = checkpoint_in(out / CHECKPOINTS, options)
        result = search(
            teacher,
            budget,
            family=family,
            halving=replace(halving, imitate=imitation(teacher, recipe(teacher.problem))),
            key=lambda seed: jax.random.split(jax.random.key(seed))[1],
            progress=options.progress,
            checkpoint=checkpoint,
            say=say,
            source=source,
        )
        rows = result.rows()
        saved = {c.name: c.model for c in result.candidates if c.name in result.front or c.name == result.chosen.name}
        metrics = {name: evaluate(model) for name, model in saved.items()}
        for candidate in result.candidates:
            (out / f"{candidate.name}.safetensors").unlink(missing_ok=True)
        for name in result.front:
            save(saved[name], out / f"{name}.safetensors", metrics=metrics[name])
        save(result.chosen.model, out / "student.safetensors", metrics=metrics[result.chosen.name])
        write_csv(out / "search.csv", list(rows[0]), rows)
        content = {
            "problem": teacher.problem.name,
            "engine": budget.engine,
            "points": budget.points,
            "chosen": result.chosen.name,
            "miss": result.miss,
            "candidates": rows,
        }
        write_json(content, out / "search.json")
        plots.front(rows, out / "search.png", engine=budget.engine, points=budget.points)
        checkpoint.remove()
    return content


@contextlib.contextmanager
def _resumable() -> Iterator[None]:
    """Add to the message of Ctrl-C during training how to continue."""
    try:
        yield
    except TrainingInterrupted as interrupted:
        raise KeyboardInterrupt(f"{where_interrupted(interrupted)}; --resume continues the training") from None
