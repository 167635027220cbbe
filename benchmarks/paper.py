"""The paper's recipe on every problem: errors of teacher and student, three seeds, beside the paper's figures.

    python benchmarks/paper.py [--preset default] [--seeds 0,1,2] [--problems burgers,…]

It trains with ``recipe(problem, "paper", preset)`` and the keys of ``kdpinn run PROBLEM --recipe paper --seed SEED``,
keeps each result in benchmarks/results/paper/ (a result that is there is not made again, so the script can be stopped),
and prints the table of benchmarks/README.md.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import numpy as np

import kdpinn_jax as kd

jax.config.update("jax_enable_x64", True)
RESULTS = Path(__file__).parent / "results" / "paper"
#: RMSE the paper quotes: of the student for Black–Scholes, of the teacher for the others; and its claimed growth.
QUOTED = {"black_scholes": 2.3e-3, "burgers": 3.49e-2, "taylor_green": 0.131}
GROWTH = 1.0064


def one(problem: kd.Problem, preset: str, seed: int) -> dict:
    """Teacher and student of one seed: errors, seconds, and why each stage ended."""
    recipe = kd.recipe(problem, "paper", preset)
    problem = kd.with_conditions(problem, recipe.conditions)
    key_teacher, key_student = jax.random.split(jax.random.key(seed))
    start = time.perf_counter()
    teacher = kd.train_teacher(
        problem, key_teacher, stages=recipe.teacher, time_budget=recipe.teacher_seconds, track_error=True
    )
    middle = time.perf_counter()
    student = kd.distill(
        teacher, key_student, imitate=recipe.imitate, stages=recipe.student, weights=recipe.weights,
        time_budget=recipe.student_seconds, track_error=True,
    )  # fmt: skip
    end = time.perf_counter()
    roles = {"teacher": (teacher, middle - start), "student": (student, end - middle)}
    return {
        role: kd.evaluate(model).as_dict() | {"seconds": seconds, "stages": [r.why() for r in model.training]}
        for role, (model, seconds) in roles.items()
    }


def table(results: dict[str, dict[int, dict]]) -> str:
    """Markdown: one row a problem and seed."""
    rows = [
        "| problem | seed | teacher RMSE (relative L2) | student RMSE (relative L2) | student/teacher | s, T + S |",
        "|---|---|---|---|---|---|",
    ]
    for name, seeds in results.items():
        for seed, result in sorted(seeds.items()):
            t, s = result["teacher"], result["student"]
            ratio = s["rmse"] / t["rmse"]
            rows.append(
                f"| `{name}` | {seed} | {t['rmse']:.2e} ({t['relative_l2']:.2e}) | {s['rmse']:.2e} "
                f"({s['relative_l2']:.2e}) | {ratio:.2f} {'≤' if ratio <= GROWTH else '>'} {GROWTH} | "
                f"{t['seconds']:.0f} + {s['seconds']:.0f} |"
            )
    return "\n".join(rows)


def verdicts(results: dict[str, dict[int, dict]]) -> str:
    """Each figure the paper quotes against the worst and the median seed."""
    lines = []
    for name, quoted in QUOTED.items():
        role = "student" if name == "black_scholes" else "teacher"
        if found := [result[role]["rmse"] for result in results.get(name, {}).values()]:
            holds = "holds" if max(found) <= quoted else "does not hold"
            lines.append(
                f"- `{name}`: {role} RMSE median {np.median(found):.2e}, worst {max(found):.2e}; "
                f"the paper's {quoted:.3g} {holds} for every seed."
            )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--problems", default=",".join(kd.problems.ALL))
    options = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[int, dict]] = {}
    for seed in map(int, options.seeds.split(",")):
        for name in options.problems.split(","):
            file = RESULTS / f"{name}-{options.preset}-{seed}.json"
            if not file.exists():
                file.write_text(json.dumps(one(kd.problems.ALL[name], options.preset, seed), indent=1))
            results.setdefault(name, {})[seed] = json.loads(file.read_text())
            print(f"{name} seed {seed}: done", flush=True)
    print(table(results), verdicts(results), sep="\n\n")
