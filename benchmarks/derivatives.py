"""Time of the loss and gradient of a second-order residual, by four ways of differentiating and by block size.

    python benchmarks/derivatives.py

The residual is that of Burgers (u_t, u_x, u_xx of a 4×64 tanh network) at 2048 points in float64, with one output and
with three, as for a flow. Methods are timed in turn, and the median and minimum of 30 calls are printed.
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import kdpinn_jax as kd
from kdpinn_jax.training import blocks as _blocks

jax.config.update("jax_enable_x64", True)
T, X, NU = 0, 1, 0.01
POINTS, REPEATS = 2048, 30


def one_pass(u, z):
    value, u_x, u_xx = kd.two_derivatives(u, z, X)
    return kd.derivative(u, T)(z) + value * u_x - NU * u_xx


def composed(u, z):
    u_x = kd.derivative(u, X)
    return kd.derivative(u, T)(z) + u(z) * u_x(z) - NU * kd.derivative(u_x, X)(z)


def nested_grad(u, z):
    def equation(i):
        def component(t, x):
            return u(jnp.stack([t, x]))[i]

        u_x = jax.grad(component, 1)
        return jax.grad(component, 0)(*z) + component(*z) * u_x(*z) - NU * jax.grad(u_x, 1)(*z)

    return jnp.stack([equation(i) for i in range(len(u(z)))])


def nested_jacfwd(u, z):
    first, second = jax.jacfwd(u)(z), jax.jacfwd(jax.jacfwd(u))(z)
    return first[:, T] + u(z) * first[:, X] - NU * second[:, X, X]


METHODS = {
    "two_derivatives (jvp of jvp, one pass)": one_pass,
    "derivative, composed": composed,
    "nested jax.grad": nested_grad,
    "jacfwd(jacfwd(u))": nested_jacfwd,
}


def times(functions: dict[str, Callable[[], object]]) -> dict[str, np.ndarray]:
    """Milliseconds of each call. The functions are called in turn."""
    for function in functions.values():
        jax.block_until_ready(function())
    milliseconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(REPEATS):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            milliseconds[name].append(1e3 * (time.perf_counter() - start))
    return {name: np.asarray(ms) for name, ms in milliseconds.items()}


def burgers_objective(residual, outputs: int) -> kd.Objective:
    term = kd.Term(kd.box((0, -1), (1, 1)), lambda u, z, c: residual(u, z), count=POINTS)
    fields = ("u", "v", "p")[:outputs]
    problem = kd.Problem("bench", ("t", "x"), fields, (0, -1), (1, 1), {"residual": term})
    return kd.objective(problem, kd.MLP((64, 64, 64, 64)))


def compiled_call(objective: kd.Objective) -> Callable[[], object]:
    """The loss and gradient, compiled, at fixed parameters and points."""
    params = kd.init_params(objective.problem, objective.network, jax.random.key(0))
    points = kd.sample(objective, jax.random.key(1))
    compiled = jax.jit(kd.loss_and_grad).lower(objective, params, points).compile()
    return lambda: compiled(objective, params, points)


def report(title: str, functions: dict[str, Callable[[], object]]) -> None:
    print(f"\n{title}\n{'':42} median     min  (ms)")
    for name, ms in times(functions).items():
        print(f"{name:42} {np.median(ms):6.2f}  {ms.min():6.2f}")


if __name__ == "__main__":
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, float64, {POINTS} points, network (2, 64×4, m)")
    for outputs in (1, 3):
        report(f"m = {outputs}", {name: compiled_call(burgers_objective(f, outputs)) for name, f in METHODS.items()})
    blocks = {}
    for size in (128, 256, 512, 1024, POINTS):
        _blocks.BLOCK = size  # it is read during tracing, and each objective has its own problem and its own trace
        blocks[f"blocks of {size}"] = compiled_call(burgers_objective(one_pass, 1))
    report("two_derivatives, m = 1", blocks)
