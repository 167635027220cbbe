"""``history.csv``: the history of a run's trainings, one row a record, written and read back."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..base.names import one_line
from ..base.storage import write_csv
from .report import StageReport, Status

#: A history is a few hundred kilobytes; its rows take thirty times their bytes in memory.
LARGEST = 20_000_000
#: What a picture can hold: panels, stages of each, lines.
MOST_ROLES, MOST_STAGES, MOST_TERMS = 16, 1000, 100
_MOST_STEPS = 10**15  # a thousand stages of them still fit an int64
_KEYS = ["role", "stage", "step", "seconds"]


def write_history(trainings: Mapping[str, Sequence[StageReport]], path: str | os.PathLike[str]) -> None:
    """One row a record: role, stage, step and seconds within the stage, loss, every unweighted term, relative L2."""
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
    """``{role: stages}`` of a history.csv, as far as a picture needs them: why a stage ended is not in the file.

    Raises:
        ValueError: no such file, not a history, nothing in it, or more than can be drawn.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise ValueError(f"{path}: no such file; give the history.csv of a folder made by kdpinn run")
    found: dict[str, list[list[dict[str, str]]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            if (size := os.fstat(file.fileno()).st_size) > LARGEST:
                raise ValueError(f"{size} bytes, more than {LARGEST}")
            reader = csv.DictReader(file, strict=True)
            names = reader.fieldnames or ()
            if missing := [name for name in (*_KEYS, "loss") if name not in names]:
                raise ValueError(f"no column {missing[0]!r}")
            if len(names) > MOST_TERMS or len(set(names)) < len(names) or not all(map(str.isprintable, names)):
                raise ValueError(f"columns {one_line(names)}, expected up to {MOST_TERMS} printable names, each once")
            for row in reader:
                if None in row or None in row.values():
                    raise ValueError(f"line {reader.line_num} has not {len(names)} cells")
                stages = found.setdefault(row["role"], [])
                # Steps count within a stage: where they fall, the next one begins, also one of the same name; and so
                # it does where the terms change.
                last = stages[-1][-1] if stages else None
                if last is None or _kind(last) != _kind(row) or _step(row) <= _step(last):
                    stages.append([])
                stages[-1].append(row)
                if len(found) > MOST_ROLES or len(stages) > MOST_STAGES:
                    raise ValueError(f"more than {MOST_ROLES} roles or {MOST_STAGES} stages")
        trainings = {role: tuple(map(_report, stages)) for role, stages in found.items()}
    except (ValueError, OSError, csv.Error) as error:
        raise ValueError(f"{path}: not a history of kdpinn run ({one_line(error)}); make it anew") from None
    if not trainings:
        raise ValueError(f"{path}: holds no records; nothing can be drawn")
    return trainings


def _kind(row: dict[str, str]) -> list[str]:
    return [row["stage"], *(name for name, text in row.items() if text)]


def _step(row: dict[str, str]) -> int:
    step = int(row["step"])
    if not 0 <= step <= _MOST_STEPS:
        raise ValueError(f"step {step}")
    return step


def _report(rows: list[dict[str, str]]) -> StageReport:
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
