"""The paper's recipe on every problem: errors of teacher and student for three seeds, and the values in the paper.

    python benchmarks/paper.py [--preset default] [--seeds 0,1,2] [--problems burgers,…]

The trainings use ``recipe(problem, "paper", preset)`` and the keys of ``kdpinn run PROBLEM --recipe paper --seed
SEED``. Each result is kept in benchmarks/results/paper/. Stored results are not computed again, so the script can be
interrupted. It prints the table of benchmarks/README.md.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

import kdpinn_jax as kd

jax.config.update("jax_enable_x64", True)
RESULTS = Path(__file__).parent / "results" / "paper"
#: The RMSE in the paper, of the student for Black–Scholes and of the teacher for the others, and the largest ratio of
#: the student's RMSE to its teacher's that it claims.
QUOTED = {"black_scholes": 2.3e-3, "burgers": 3.49e-2, "taylor_green": 0.131}
GROWTH = 1.0064


def train(problem: kd.Problem, preset: str, seed: int) -> dict[str, Any]:
    """Teacher and student of one seed: their errors and seconds, and why each stage ended."""
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


def table(results: dict[str, dict[int, dict[str, Any]]]) -> str:
    """Markdown with one row per problem and seed."""
    errors_head = "teacher RMSE (relative L2) | student RMSE (relative L2) | student/teacher"
    rows = [f"| problem | seed | {errors_head} | seconds, teacher + student |", "|---|---|---|---|---|---|"]
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


def verdicts(results: dict[str, dict[int, dict[str, Any]]]) -> str:
    """Each value in the paper, compared with the median and the worst seed."""
    lines = []
    for name, quoted in QUOTED.items():
        role = "student" if name == "black_scholes" else "teacher"
        if errors := [result[role]["rmse"] for result in results.get(name, {}).values()]:
            holds = "holds" if max(errors) <= quoted else "does not hold"
            lines.append(
                f"- `{name}`: {role} RMSE median {np.median(errors):.2e}, worst {max(errors):.2e}; "
                f"the paper's {quoted:.3g} {holds} for every seed."
            )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="default", help="name of a preset")
    parser.add_argument("--seeds", default="0,1,2", help="whole numbers, separated by commas")
    parser.add_argument("--problems", default=",".join(kd.problems.ALL), help="names, separated by commas")
    options = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[int, dict[str, Any]]] = {}
    for seed in map(int, options.seeds.split(",")):
        for name in options.problems.split(","):
            file = RESULTS / f"{name}-{options.preset}-{seed}.json"
            if not file.exists():
                file.write_text(json.dumps(train(kd.problems.ALL[name], options.preset, seed), indent=1))
            results.setdefault(name, {})[seed] = json.loads(file.read_text())
            print(f"{name} seed {seed}: done", flush=True)
    print(table(results), verdicts(results), sep="\n\n")
