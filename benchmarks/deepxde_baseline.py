"""The same problems solved by DeepXDE with PyTorch, in the same wall time and against the same converged reference.

    python -m venv ENVIRONMENT && ENVIRONMENT/bin/pip install deepxde torch      # a CPU build of torch
    python benchmarks/deepxde_baseline.py --python ENVIRONMENT/bin/python [--problems burgers,…] [--seeds 0,1,2]
        [--seconds 60]

Each training runs in a process of that environment. This process computes the reference and writes the results to
benchmarks/results/training/, from which benchmarks/training.py adds them to its table and pictures.

The recipe is that of DeepXDE's examples: a tanh network with Glorot normal weights (the network of its Burgers example
has the layers of the student), soft conditions, the examples' numbers of points, drawn once, Adam at 1e-3 for 15,000
iterations, then L-BFGS with DeepXDE's settings, here in float64, as its documentation advises. If the iterations do not
fit into the time, Adam stops at ADAM_SHARE of it. DeepXDE's Allen–Cahn example has another diffusivity and fixed ends.
Here the solution and its slope are periodic, and the conditions have the weights of this library's soft form, without
which the solution stays near zero.
"""

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from _training_results import file_of, thinned

HIDDEN = [20, 20, 20]
ADAM_ITERATIONS, LEARNING_RATE = 15_000, 1e-3
#: The share of the time for Adam, about that of the examples, whose L-BFGS has 15,000 iterations of 1.25 evaluations.
ADAM_SHARE = 0.45
#: Iterations between records and checks of the clock. A record of L-BFGS costs one evaluation, DeepXDE's own two more.
ADAM_RECORD, LBFGS_RECORD = 100, 50
#: The columns of DeepXDE's points.
X, T = 0, 1
#: The numbers of (domain, boundary, initial) points in DeepXDE's examples.
POINTS = {"burgers": (2540, 80, 160), "allen_cahn": (8000, 400, 800), "black_scholes": (2047, 63, 127)}


def save_reference(problem_name: str, path: Path) -> None:
    """Save the dense grid, the converged solution on it, the domain and the coefficients.

    This runs in the environment of this library.
    """
    import jax

    import kdpinn_jax as kd
    from kdpinn_jax.models.grids import GRID, grid, reference_values

    jax.config.update("jax_enable_x64", True)
    problem = kd.problems.ALL[problem_name]
    z = grid(problem.lower, problem.upper, GRID[len(problem.axes)])
    u = reference_values(problem, dict(problem.coefficients), z)
    coefficients = json.dumps(dict(problem.coefficients))
    np.savez(path, z=z, u=u, lower=problem.lower, upper=problem.upper, coefficients=coefficients)


def equation(problem_name: str, c: dict[str, float]):
    """The residual in DeepXDE's form, (points, values) -> (n, 1)."""
    import deepxde as dde

    def residual(x, u):
        u_x, u_t = (dde.grad.jacobian(u, x, i=0, j=axis) for axis in (X, T))
        u_xx = dde.grad.hessian(u, x, i=X, j=X)
        if problem_name == "burgers":
            return u_t + u * u_x - c["nu"] * u_xx
        if problem_name == "allen_cahn":
            return u_t - c["diffusivity"] * u_xx - c["reaction"] * (u - u**3)
        s = x[:, X : X + 1]  # Black–Scholes in the time to maturity
        return u_t - 0.5 * c["sigma"] ** 2 * s**2 * u_xx - c["r"] * s * u_x + c["r"] * u

    return residual


def conditions(problem_name: str, domain, lower: float, upper: float, c: dict[str, float]):
    """The soft conditions, and the weights of the residual and of each condition; None for equal weights."""
    from deepxde.icbc import IC, DirichletBC, PeriodicBC

    initial = {
        "burgers": lambda z: -np.sin(np.pi * z[:, X : X + 1]),
        "allen_cahn": lambda z: z[:, X : X + 1] ** 2 * np.cos(np.pi * z[:, X : X + 1]),
        "black_scholes": lambda z: np.maximum(z[:, X : X + 1] - 1, 0),
    }[problem_name]
    initial_condition = IC(domain, initial, lambda _, on_initial: on_initial)
    everywhere = lambda _, on_boundary: on_boundary
    if problem_name == "burgers":
        return [DirichletBC(domain, lambda z: 0, everywhere), initial_condition], None
    if problem_name == "allen_cahn":
        periodic = [PeriodicBC(domain, X, everywhere, derivative_order=order) for order in (0, 1)]
        return [*periodic, initial_condition], [1, 10, 10, 100]
    at = lambda end: lambda z, on_boundary: on_boundary and np.isclose(z[X], end)
    far_value = lambda z: upper - np.exp(-c["r"] * z[:, T : T + 1])
    boundary_conditions = [DirichletBC(domain, lambda z: 0, at(lower)), DirichletBC(domain, far_value, at(upper))]
    return [*boundary_conditions, initial_condition], None


def train(problem_name: str, reference: Path, seed: int, seconds: float) -> dict:
    """The result of one training, with its curve. This runs in the environment of DeepXDE."""
    os.environ["DDE_BACKEND"] = "pytorch"
    import deepxde as dde
    import torch
    from deepxde.optimizers.config import LBFGS_options

    arrays = np.load(reference)
    z, exact, c = arrays["z"], arrays["u"], json.loads(str(arrays["coefficients"]))
    (_, lower), (_, upper) = arrays["lower"], arrays["upper"]
    points = z[:, ::-1].copy() if problem_name != "black_scholes" else np.stack([z[:, 1], 1 - z[:, 0]], axis=1)
    relative_l2 = lambda u: float(np.linalg.norm(u - exact) / np.linalg.norm(exact))
    rows = []
    dde.config.set_default_float("float64")
    dde.config.set_random_seed(seed)

    def record() -> None:
        error = relative_l2(model.predict(points))
        rows.append((time.perf_counter() - start, error, float(np.sum(model.train_state.loss_train))))

    class Watch(dde.callbacks.Callback):
        """Record the errors, and stop the training at its deadline."""

        def __init__(self, every: int, deadline: float) -> None:
            super().__init__()
            self.every, self.deadline = every, deadline

        def on_epoch_end(self) -> None:
            if self.model.train_state.step % self.every == 0:
                record()
            self.model.stop_training |= time.perf_counter() - start > self.deadline

    start = time.perf_counter()
    domain = dde.geometry.GeometryXTime(dde.geometry.Interval(lower, upper), dde.geometry.TimeDomain(0, 1))
    soft_conditions, weights = conditions(problem_name, domain, lower, upper, c)
    inside, boundary, initial = POINTS[problem_name]
    data = dde.data.TimePDE(
        domain,
        equation(problem_name, c),
        soft_conditions,
        num_domain=inside,
        num_boundary=boundary,
        num_initial=initial,
    )
    net = dde.nn.FNN([2, *HIDDEN, 1], "tanh", "Glorot normal")
    model = dde.Model(data, net)
    stages = []
    for name in ("Adam", "L-BFGS"):
        stage_start, step = time.perf_counter(), model.train_state.step
        if name == "Adam":
            model.compile("adam", lr=LEARNING_RATE, loss_weights=weights, verbose=0)
            watch = Watch(ADAM_RECORD, ADAM_SHARE * seconds)
            model.train(iterations=ADAM_ITERATIONS, display_every=ADAM_RECORD, callbacks=[watch], verbose=0)
        else:
            # DeepXDE calls PyTorch with 1000 iterations at a time, too many between checks of the clock. The curvature
            # pairs are kept between calls.
            dde.optimizers.set_LBFGS_options(maxiter=1_000_000)
            LBFGS_options.update(iter_per_step=LBFGS_RECORD, fun_per_step=LBFGS_RECORD * 5 // 4)
            model.compile("L-BFGS", loss_weights=weights, verbose=0)
            model.train(callbacks=[Watch(1, seconds)], verbose=0)
        stage_seconds, steps = time.perf_counter() - stage_start, model.train_state.step - step
        ended = "stopped by the clock or its iterations" if model.stop_training else "ended by itself"
        stages.append(
            {"stage": name, "steps": steps, "seconds_compiling": 0.0, "seconds": stage_seconds, "ended": ended}
        )
    record()
    wall = time.perf_counter() - start
    with torch.no_grad():
        single = copy.deepcopy(net).float()(torch.as_tensor(points.astype(np.float32))).double().numpy()
    errors = {
        name: {
            "relative_l2": relative_l2(u),
            "rmse": float(np.sqrt(np.mean((u - exact) ** 2))),
            "max_error": float(np.max(np.abs(u - exact))),
        }
        for name, u in (("final", model.predict(points)), ("float32", single))
    }
    return {
        "problem": problem_name,
        "variant": problem_name,
        "conditions": "soft",
        "size": "student",
        "optimiser": "DeepXDE",
        "seed": seed,
        "seconds": seconds,
        "wall": wall,
        "layers": [2, *HIDDEN, 1],
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "stages": stages,
        "curve": thinned(dict(zip(("seconds", "relative_l2", "loss"), zip(*rows, strict=True), strict=True))),
        **errors,
        "versions": {name: version(name) for name in ("deepxde", "torch", "numpy")},
        "threads": torch.get_num_threads(),
    }


def run_all(python: str, name: str, seeds: list[int], seconds: float) -> None:
    """Train the seeds that have no result yet, each in a process of the environment of DeepXDE."""
    from kdpinn_jax.base.machine import describe_machine
    from kdpinn_jax.base.storage import write_json

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for seed in seeds:
            path = file_of(name, "student", "DeepXDE", seed, seconds)
            if path.exists():
                continue
            if not (folder / "reference.npz").exists():
                save_reference(name, folder / "reference.npz")
            machine = describe_machine()
            command = [python, __file__, "--folder", temporary, "--problems", name]
            subprocess.run([*command, "--seeds", str(seed), "--seconds", str(seconds)], check=True)
            result = json.loads((folder / "result.json").read_text())
            write_json(result | {"machine": machine | {"threads": result.pop("threads")}}, path)
            steps = ", ".join(f"{stage['steps']} {stage['stage']} steps" for stage in result["stages"])
            print(f"{name}, seed {seed}: {steps}, relative L2 {result['final']['relative_l2']:.2e}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the Python of the environment that has DeepXDE")
    parser.add_argument("--problems", default=",".join(POINTS), help="names, separated by commas")
    parser.add_argument("--seeds", default="0,1,2", help="whole numbers, separated by commas")
    parser.add_argument("--seconds", type=float, default=60.0, help="wall time of each training")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # for the processes that train
    options = parser.parse_args()
    if options.folder:
        result = train(options.problems, options.folder / "reference.npz", int(options.seeds), options.seconds)
        (options.folder / "result.json").write_text(json.dumps(result))
        sys.exit()
    for name in options.problems.split(","):
        run_all(options.python, name, list(map(int, options.seeds.split(","))), options.seconds)
