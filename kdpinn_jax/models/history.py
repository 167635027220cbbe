"""``history.csv``: the history of a run's trainings, one row per record."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..base.names import one_line
from ..base.storage import write_csv
from .report import StageReport, Status

#: The largest file that is read, in bytes. A history takes a few hundred kilobytes; rows take thirty times their size
#: in memory.
LARGEST = 20_000_000
#: The most panels, stages per panel, and lines that a plot can show.
MAX_ROLES, MAX_STAGES, MAX_TERMS = 16, 1000, 100
_MAX_STEP = 10**15  # the sum over a thousand stages still fits an int64
_KEYS = ["role", "stage", "step", "seconds"]


def write_history(trainings: Mapping[str, Sequence[StageReport]], path: str | os.PathLike[str]) -> None:
    """Write the records of all trainings.

    The columns are role, stage, step and seconds within the stage, the loss, every unweighted term, and the relative L2
    error if it was monitored.

    Args:
        trainings: ``{role: stages}``.
        path: the file.
    """
    rows: list[dict[str, Any]] = []
    for role, stages in trainings.items():
        for report in stages:
            for i, step in enumerate(report.record_steps):
                numbers = {name: float(values[i]) for name, values in report.history.items()}
                seconds = float(report.record_seconds[i])
                rows.append({"role": role, "stage": report.stage, "step": int(step), "seconds": seconds, **numbers})
    columns = list(dict.fromkeys([*_KEYS, "loss", *(name for row in rows for name in row)]))
    write_csv(path, columns, rows)


def read_history(path: str | os.PathLike[str]) -> dict[str, tuple[StageReport, ...]]:
    """Read ``{role: stages}``, as far as a plot needs it: the file does not tell why a stage ended.

    Raises:
        ValueError: no such file, not a history, no records, or more than can be plotted.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise ValueError(f"{path}: no such file; give the history.csv of a folder written by kdpinn run")
    try:
        trainings = {role: tuple(map(_report, stages)) for role, stages in _read_stages(path).items()}
    except (ValueError, OSError, csv.Error) as error:
        raise ValueError(f"{path}: not a history of kdpinn run ({one_line(error)}); create it again") from None
    if not trainings:
        raise ValueError(f"{path}: holds no records, so there is nothing to plot; train for more steps")
    return trainings


def _read_stages(path: Path) -> dict[str, list[list[dict[str, str]]]]:
    """``{role: stages}``, each stage a list of rows."""
    trainings: dict[str, list[list[dict[str, str]]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        if (size := os.fstat(file.fileno()).st_size) > LARGEST:
            raise ValueError(f"{size} bytes, expected at most {LARGEST}")
        reader = csv.reader(file, strict=True)
        names = next(reader, [])
        if missing := [name for name in (*_KEYS, "loss") if name not in names]:
            raise ValueError(f"no column {missing[0]!r}")
        if len(names) > MAX_TERMS or len(set(names)) < len(names) or not all(map(str.isprintable, names)):
            raise ValueError(f"columns {one_line(names)}, expected up to {MAX_TERMS} distinct printable names")
        for cells in filter(None, reader):  # a blank line is an empty list
            if len(cells) != len(names):
                raise ValueError(f"line {reader.line_num}: expected {len(names)} columns, found {len(cells)}")
            row = dict(zip(names, cells, strict=True))
            stages = trainings.setdefault(row["role"], [])
            # Steps are counted within a stage, so the next one begins where they do not rise, even if it has the same
            # name, and where the terms change.
            last = stages[-1][-1] if stages else None
            if last is None or _stage_and_terms(last) != _stage_and_terms(row) or _step(row) <= _step(last):
                stages.append([])
            stages[-1].append(row)
            if len(trainings) > MAX_ROLES or len(stages) > MAX_STAGES:
                raise ValueError(f"more than {MAX_ROLES} roles or {MAX_STAGES} stages")
    return trainings


def _stage_and_terms(row: dict[str, str]) -> list[str]:
    """The name of the stage and the columns that it fills."""
    return [row["stage"], *(name for name, text in row.items() if text)]


def _step(row: dict[str, str]) -> int:
    step = int(row["step"])
    if not 0 <= step <= _MAX_STEP:
        raise ValueError(f"step {step}, expected 0 to {_MAX_STEP}")
    return step


def _report(rows: list[dict[str, str]]) -> StageReport:
    """The report of a stage from its rows."""
    names = [name for name, text in rows[0].items() if name not in _KEYS and text]
    steps, seconds = np.asarray([_step(row) for row in rows]), np.asarray([float(row["seconds"]) for row in rows])
    return StageReport(
        stage=rows[0]["stage"],
        planned=int(steps[-1]),
        steps=int(steps[-1]),
        status=int(Status.RUNNING),
        record_steps=steps,
        history={name: np.asarray([float(row[name]) for row in rows]) for name in names},
        fresh_loss=np.nan,
        seconds_compiling=np.nan,
        seconds=float(seconds[-1]),
        record_seconds=seconds,
    )
