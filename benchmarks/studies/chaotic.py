"""Chaos in time windows: how the errors of a chain of teachers and of a chain of students grow.

    taskset -c 0 python benchmarks/studies/chaotic.py [--quick]

Kuramoto–Sivashinsky with period 22 is solved in windows of 5 time units. Each window has its own network, which starts
from the final state of the previous one (``kd.initial_from``). There are three chains per seed: teachers; students that
imitate the teacher of their window, then learn from physics, and continue from the previous student; students alone.
The relative L2 error of each window is measured against the spectral reference.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from _study import Cases, Result, Results, Study, main, markdown, spread
from matplotlib.figure import Figure

import kdpinn_jax as kd
from kdpinn_jax.models.grids import grid
from kdpinn_jax.problems.references.kuramoto_sivashinsky import kuramoto_sivashinsky

PROBLEM = kd.problems.ALL["kuramoto_sivashinsky"]
WINDOWS = 12
TEACHER, STUDENT = kd.MLP((30, 30)), kd.MLP((20, 20))
#: Levenberg–Marquardt steps of a teacher, of a student's imitation and of its training on physics, and the number of
#: residuals in each step.
STEPS, IMITATION, PHYSICS = 40, 15, 40
RESIDUALS = 1200
#: The largest Lyapunov exponent: Cvitanović, Davidchack & Siminos (2010), section 4; tests/test_kuramoto_sivashinsky.py
#: measures it.
LYAPUNOV = 0.048
#: The windows in the table.
SHOWN = (1, 2, 4, 6, 8, 10, 12)
CHAINS = ("teacher", "student", "student alone")


def stage(steps: int) -> tuple[kd.Stage, ...]:
    share = RESIDUALS / PROBLEM.terms["residual"].count
    return (kd.LevenbergMarquardt(steps, sampling=replace(kd.ADAPTIVE, share=share)),)


def initial_term(chain: Sequence[kd.Model]) -> Mapping[str, kd.Term]:
    """The initial term of the next window; that of the problem for the first window."""
    return {"initial": kd.initial_from(chain[-1])} if chain else {"initial": PROBLEM.terms["initial"]}


def train_chains(seed: int, windows: int, steps: int, imitation: int, physics: int) -> dict[str, list[kd.Model]]:
    """The models of every chain, one per window."""
    chains: dict[str, list[kd.Model]] = {name: [] for name in CHAINS}
    for key in jax.random.split(jax.random.key(seed), windows):
        key_teacher, key_student = jax.random.split(key)
        teachers, students, alone = (chains[name] for name in CHAINS)
        train = functools.partial(kd.train_teacher, PROBLEM, progress=False)
        teachers.append(train(key_teacher, network=TEACHER, stages=stage(steps), terms=initial_term(teachers)))
        distil = functools.partial(kd.distill, teachers[-1], key_student, network=STUDENT, progress=False)
        imitate = (kd.LevenbergMarquardt(imitation),)
        students.append(distil(imitate=imitate, stages=stage(physics), terms=initial_term(students)))
        alone.append(distil(imitate=(), stages=stage(imitation + physics), terms=initial_term(alone)))
    return chains


def run_case(seed: int, quick: bool) -> Result:
    windows, *steps = (2, 3, 2, 3) if quick else (WINDOWS, STEPS, IMITATION, PHYSICS)
    z = grid(PROBLEM.lower, PROBLEM.upper, 65)
    length = PROBLEM.upper[0] - PROBLEM.lower[0]
    exact = jax.jit(jax.vmap(kuramoto_sivashinsky(PROBLEM.coefficients, until=windows * length)))
    truth = [np.asarray(exact(jnp.asarray(z + np.array([[i * length, 0.0]])))) for i in range(windows)]
    errors = {
        name: [
            float(np.linalg.norm(np.asarray(model(z)) - u) / np.linalg.norm(u))
            for model, u in zip(models, truth, strict=True)
        ]
        for name, models in train_chains(seed, windows, *steps).items()
    }
    return {"seed": seed, "length": length, "errors": errors}


def growth(errors: Sequence[float], length: float) -> float:
    """The rate λ of errors e^{λt}, one per window of this length, from a least-squares fit to their logarithms."""
    return float(np.polyfit(length * np.arange(len(errors)), np.log(errors), 1)[0])


def tables(results: Results) -> dict[str, str]:
    runs = list(results.values())
    rows = []
    for window in SHOWN:
        if window <= len(runs[0]["errors"]["teacher"]):
            end = window * runs[0]["length"]
            rows.append([str(window), f"{end:g}", f"{end * LYAPUNOV:.1f}"])
            rows[-1] += [spread([run["errors"][name][window - 1] for run in runs]) for name in CHAINS]
    rates = [spread([growth(run["errors"][name], run["length"]) for run in runs], ".3f") for name in CHAINS]
    rows.append(["growth rate", "", "", *rates])
    return {"growth": markdown(["window", "end of window, t", "Lyapunov times", *CHAINS], rows)}


def picture(results: Results) -> Figure:
    runs = list(results.values())
    figure = Figure(figsize=(6, 4), layout="constrained")
    panel = figure.subplots()
    times = LYAPUNOV * runs[0]["length"] * (np.arange(len(runs[0]["errors"]["teacher"])) + 1)
    for i, name in enumerate(CHAINS):
        errors = np.asarray([run["errors"][name] for run in runs])
        panel.plot(times, np.median(errors, axis=0), "o-", color=f"C{i}", label=name, markersize=3)
        panel.fill_between(times, errors.min(axis=0), errors.max(axis=0), color=f"C{i}", alpha=0.2, linewidth=0)
    first = np.median([run["errors"]["teacher"][0] for run in runs])
    panel.plot(times, first * np.exp(times - times[0]), "k--", label="e^{λt}")
    panel.set(yscale="log", xlabel="Lyapunov times", ylabel="relative L2 error in the window")
    panel.legend(fontsize=8)
    return figure


def cases(seeds: Sequence[int], quick: bool) -> Cases:
    return {str(seed): functools.partial(run_case, seed, quick) for seed in seeds}


STUDY = Study("chaotic", cases, tables, picture)

if __name__ == "__main__":
    main(STUDY, __doc__)
