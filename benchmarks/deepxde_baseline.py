"""The same problems by DeepXDE with PyTorch, in the same wall time, against the same converged reference.

    python -m venv ENVIRONMENT && ENVIRONMENT/bin/pip install deepxde torch      # a CPU build of torch
    python benchmarks/deepxde_baseline.py --python ENVIRONMENT/bin/python [--problems burgers,…] [--seeds 0,1,2]
        [--seconds 60]

Each training is a process of that environment; this process computes the reference and writes the results into
benchmarks/results/training/, from which benchmarks/training.py adds them to its table and pictures.

The recipe is that of DeepXDE's examples: tanh network with Glorot normal weights (that of its Burgers example is the
student's), soft conditions, its numbers of points, drawn once, Adam at 1e-3 for 15,000 iterations, then L-BFGS with
DeepXDE's settings, here in float64, as its documentation advises. Where the iterations do not fit, Adam stops at
ADAM_SHARE of the time. Its Allen–Cahn example has another diffusivity and fixed ends; here the solution is periodic,
value and slope, and the conditions are weighed as in this library's soft form, without which it stays near zero.
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
#: About that of the examples, whose L-BFGS has 15,000 iterations of 1.25 evaluations.
ADAM_SHARE = 0.45
#: Iterations between two records and looks at the clock. One of L-BFGS costs an evaluation, and DeepXDE's own two more.
ADAM_RECORD, LBFGS_RECORD = 100, 50
#: Columns of DeepXDE's points.
X, T = 0, 1
#: (domain, boundary, initial) points of DeepXDE's examples.
POINTS = {"burgers": (2540, 80, 160), "allen_cahn": (8000, 400, 800), "black_scholes": (2047, 63, 127)}


def save_reference(problem_name: str, path: Path) -> None:
    """The dense grid, the converged solution there, domain and coefficients. Runs in this library's environment."""
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
    """The residual as DeepXDE wants it, (points, values) -> (n, 1)."""
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
    """The soft conditions, and the weights of the residual and of each."""
    from deepxde.icbc import IC, DirichletBC, PeriodicBC

    initial = {
        "burgers": lambda z: -np.sin(np.pi * z[:, X : X + 1]),
        "allen_cahn": lambda z: z[:, X : X + 1] ** 2 * np.cos(np.pi * z[:, X : X + 1]),
        "black_scholes": lambda z: np.maximum(z[:, X : X + 1] - 1, 0),
    }[problem_name]
    start = IC(domain, initial, lambda _, on_initial: on_initial)
    everywhere = lambda _, on_boundary: on_boundary
    if problem_name == "burgers":
        return [DirichletBC(domain, lambda z: 0, everywhere), start], None
    if problem_name == "allen_cahn":
        periodic = [PeriodicBC(domain, X, everywhere, derivative_order=order) for order in (0, 1)]
        return [*periodic, start], [1, 10, 10, 100]
    at = lambda end: lambda z, on_boundary: on_boundary and np.isclose(z[X], end)
    far = lambda z: upper - np.exp(-c["r"] * z[:, T : T + 1])
    return [DirichletBC(domain, lambda z: 0, at(lower)), DirichletBC(domain, far, at(upper)), start], None


def train(problem_name: str, reference: Path, seed: int, seconds: float) -> dict:
    """A training and its curve. Runs in DeepXDE's environment."""
    os.environ["DDE_BACKEND"] = "pytorch"
    import deepxde as dde
    import torch
    from deepxde.optimizers.config import LBFGS_options

    saved = np.load(reference)
    z, exact, c = saved["z"], saved["u"], json.loads(str(saved["coefficients"]))
    (_, lower), (_, upper) = saved["lower"], saved["upper"]
    points = z[:, ::-1].copy() if problem_name != "black_scholes" else np.stack([z[:, 1], 1 - z[:, 0]], axis=1)
    relative_l2 = lambda u: float(np.linalg.norm(u - exact) / np.linalg.norm(exact))
    rows = []
    dde.config.set_default_float("float64")
    dde.config.set_random_seed(seed)

    def record() -> None:
        error = relative_l2(model.predict(points))
        rows.append((time.perf_counter() - start, error, float(np.sum(model.train_state.loss_train))))

    class Watch(dde.callbacks.Callback):
        """Records, and stops the training at its deadline."""

        def __init__(self, every: int, deadline: float) -> None:
            super().__init__()
            self.every, self.deadline = every, deadline

        def on_epoch_end(self) -> None:
            if self.model.train_state.step % self.every == 0:
                record()
            self.model.stop_training |= time.perf_counter() - start > self.deadline

    start = time.perf_counter()
    domain = dde.geometry.GeometryXTime(dde.geometry.Interval(lower, upper), dde.geometry.TimeDomain(0, 1))
    soft, weights = conditions(problem_name, domain, lower, upper, c)
    inside, boundary, initial = POINTS[problem_name]
    data = dde.data.TimePDE(
        domain, equation(problem_name, c), soft, num_domain=inside, num_boundary=boundary, num_initial=initial
    )
    net = dde.nn.FNN([2, *HIDDEN, 1], "tanh", "Glorot normal")
    model = dde.Model(data, net)
    stages = []
    for name in ("Adam", "L-BFGS"):
        begun, step = time.perf_counter() - start, model.train_state.step
        if name == "Adam":
            model.compile("adam", lr=LEARNING_RATE, loss_weights=weights, verbose=0)
            watch = Watch(ADAM_RECORD, ADAM_SHARE * seconds)
            model.train(iterations=ADAM_ITERATIONS, display_every=ADAM_RECORD, callbacks=[watch], verbose=0)
        else:
            # DeepXDE hands PyTorch 1000 iterations at a time, too many to watch; the curvature pairs outlive a call.
            dde.optimizers.set_LBFGS_options(maxiter=1_000_000)
            LBFGS_options.update(iter_per_step=LBFGS_RECORD, fun_per_step=LBFGS_RECORD * 5 // 4)
            model.compile("L-BFGS", loss_weights=weights, verbose=0)
            model.train(callbacks=[Watch(1, seconds)], verbose=0)
        took, steps = time.perf_counter() - start - begun, model.train_state.step - step
        ended = "stopped by the clock or its iterations" if model.stop_training else "ended by itself"
        stages.append({"stage": name, "steps": steps, "seconds_compiling": 0.0, "seconds": took, "ended": ended})
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
    """Train the seeds that have no result yet, each in a process of DeepXDE's environment."""
    from kdpinn_jax.base.machine import describe_machine
    from kdpinn_jax.base.storage import write_json

    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for seed in seeds:
            path = file_of(name, "student", "DeepXDE", seed, seconds)
            if path.exists():
                continue
            if not (folder / "reference.npz").exists():
                save_reference(name, folder / "reference.npz")
            before = describe_machine()
            command = [python, __file__, "--folder", text, "--problems", name]
            subprocess.run([*command, "--seeds", str(seed), "--seconds", str(seconds)], check=True)
            result = json.loads((folder / "result.json").read_text())
            write_json(result | {"machine": before | {"threads": result.pop("threads")}}, path)
            steps = ", ".join(f"{stage['steps']} {stage['stage']} steps" for stage in result["stages"])
            print(f"{name}, seed {seed}: {steps}, relative L2 {result['final']['relative_l2']:.2e}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the Python that has DeepXDE")
    parser.add_argument("--problems", default=",".join(POINTS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # for the processes that train
    options = parser.parse_args()
    if options.folder:
        result = train(options.problems, options.folder / "reference.npz", int(options.seeds), options.seconds)
        (options.folder / "result.json").write_text(json.dumps(result))
        sys.exit()
    for name in options.problems.split(","):
        run_all(options.python, name, list(map(int, options.seeds.split(","))), options.seconds)
