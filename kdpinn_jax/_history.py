"""``history.csv``: the history of a run's trainings, one row a record, written and read back."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._files import atomic
from ._report import StageReport
from ._stages import Ending

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
    with atomic(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def read_history(path: str | os.PathLike[str]) -> dict[str, tuple[StageReport, ...]]:
    """``{role: stages}`` of a history.csv, as far as a picture needs them: why a stage ended is not in the file.

    Raises:
        ValueError: no such file, not a history, or nothing in it.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give the history.csv of a folder made by kdpinn run")
    found: dict[str, list[list[dict[str, str]]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            if missing := [name for name in (*_KEYS, "loss") if name not in (reader.fieldnames or ())]:
                raise ValueError(f"no column {missing[0]!r}")
            for row in reader:
                stages = found.setdefault(row["role"], [])
                # Steps count within a stage: where they fall, the next one begins, also one of the same name; and so
                # it does where the terms change.
                last = stages[-1][-1] if stages else None
                if last is None or _kind(last) != _kind(row) or int(row["step"]) <= int(last["step"]):
                    stages.append([])
                stages[-1].append(row)
        trainings = {role: tuple(map(_report, stages)) for role, stages in found.items()}
    except (ValueError, TypeError, csv.Error) as error:
        raise ValueError(f"{path}: not a history of kdpinn run ({error}); make it anew") from None
    if not trainings:
        raise ValueError(f"{path}: holds no records; nothing can be drawn")
    return trainings


def _kind(row: dict[str, str]) -> list[str]:
    return [row["stage"], *(name for name, text in row.items() if text)]


def _report(rows: list[dict[str, str]]) -> StageReport:
    names = [name for name, text in rows[0].items() if name not in _KEYS and text]
    steps, seconds = (np.asarray([float(row[name]) for row in rows]) for name in ("step", "seconds"))
    return StageReport(
        stage=rows[0]["stage"],
        planned=int(steps[-1]),
        steps=int(steps[-1]),
        ending=int(Ending.RUNNING),
        record_steps=steps.astype(int),
        history={name: np.asarray([float(row[name]) for row in rows]) for name in names},
        fresh_loss=np.nan,
        seconds_compiling=np.nan,
        seconds=float(seconds[-1]),
        record_seconds=seconds,
    )
