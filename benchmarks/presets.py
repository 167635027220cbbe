"""The table of the README: every problem by the presets' own recipes.

    python benchmarks/presets.py quick default

runs ``kdpinn run PROBLEM --preset PRESET`` into benchmarks/results/presets/ where there is no result yet, and prints a
Markdown table of what the result.json say.
"""

import json
import subprocess
import sys
from pathlib import Path

import kdpinn_jax as kd

RESULTS = Path(__file__).parent / "results" / "presets"
HEAD = """\
| problem | preset | teacher, relative L2 | student | parameters | seconds T + S | student's µs, N = 1 / 1024 / 10,000 |
|---|---|---|---|---|---|---|"""


def row(problem: str, preset: str) -> str:
    folder = RESULTS / f"{problem}-{preset}"
    if not (folder / "result.json").exists():
        command = [
            sys.executable,
            "-m",
            "kdpinn_jax",
            "run",
            problem,
            "--preset",
            preset,
            "--out",
            str(folder),
            "--quiet",
        ]
        subprocess.run(command, check=True, stdout=sys.stderr)
    result = json.loads((folder / "result.json").read_text())
    teacher, student = result["teacher"], result["student"]
    microseconds = " / ".join(f"{student['latency'][n]['median']:.3g}" for n in ("1", "1024", "10000"))
    seconds = " + ".join(f"{m['seconds_compiling'] + m['seconds_training']:.0f}" for m in (teacher, student))
    return (
        f"| `{problem}` | `{preset}` | {teacher['relative_l2']:.1e} | {student['relative_l2']:.1e} | "
        f"{teacher['parameters']} → {student['parameters']} | {seconds} | {microseconds} |"
    )


if __name__ == "__main__":
    rows = [row(problem, preset) for preset in sys.argv[1:] for problem in kd.problems.ALL]
    print(HEAD, *rows, sep="\n")
