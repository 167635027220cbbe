"""The error of a Fourier solution on a grid, as in files of reference values, against the converged reference.

    python benchmarks/reference_files.py

The error is the relative L2 error over the grid and 101 times. The equation is solved by integrating-factor Runge–Kutta
with steps so small that the error depends only on the number of points: half as many steps change no printed digit.
"""

import numpy as np

import kdpinn_jax as kd
from kdpinn_jax.models.grids import reference_values

TIMES = 101
POINTS = {"burgers": (256, 512, 1024), "allen_cahn": (512, 1024, 2048)}


def fourier(problem: kd.Problem, points: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """(x, u) with u of shape (TIMES, points), on the periodic interval [−1, 1)."""
    c = problem.coefficients
    x = -1 + 2 * np.arange(points) / points
    k = np.pi * points * np.fft.fftfreq(points)
    if problem.name == "burgers":
        initial, diffusivity = -np.sin(np.pi * x), c["nu"]
        nonlinear = lambda v: -0.5j * k * np.fft.fft(np.fft.ifft(v).real ** 2)
    else:
        initial, diffusivity = x**2 * np.cos(np.pi * x), c["diffusivity"]

        def nonlinear(v):
            u = np.fft.ifft(v).real
            return c["reaction"] * np.fft.fft(u - u**3)

    h = problem.upper[0] / ((TIMES - 1) * steps)
    half = np.exp(-diffusivity * k**2 * h / 2)
    v, u = np.fft.fft(initial), [initial]
    for _ in range(TIMES - 1):
        for _ in range(steps):
            a = nonlinear(v)
            b = nonlinear(half * (v + h / 2 * a))
            e = nonlinear(half * v + h / 2 * b)
            d = nonlinear(half**2 * v + h * half * e)
            v = half**2 * v + h / 6 * (half**2 * a + 2 * half * (b + e) + d)
        u.append(np.fft.ifft(v).real)
    return x, np.asarray(u)


if __name__ == "__main__":
    print("| problem | Fourier points | relative L2 to the converged reference |\n|---|---|---|")
    for name, sizes in POINTS.items():
        problem = kd.problems.ALL[name]
        for points in sizes:
            x, u = fourier(problem, points, steps=100)
            t = np.linspace(0, problem.upper[0], TIMES)
            z = np.stack(np.meshgrid(t, x, indexing="ij"), axis=-1).reshape(-1, 2)
            exact = reference_values(problem, dict(problem.coefficients), z).reshape(u.shape)
            print(f"| `{name}` | {points} | {np.linalg.norm(u - exact) / np.linalg.norm(exact):.2e} |", flush=True)
