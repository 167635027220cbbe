"""Problems as a new user writes them: plain terms, soft conditions, weights of one, the default stages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdpinn_jax as kd

X, Y = 0, 1
SQUARE = ((0.0, 0.0), (1.0, 1.0))


def advection_diffusion():
    """uₜ + a uₓ = D uₓₓ: a Gaussian that moves to the right and spreads."""

    def exact(c):
        def u(z):
            width = 0.02 + 4 * c["diffusivity"] * z[0]
            return jnp.sqrt(0.02 / width) * jnp.exp(-((z[1:] - 0.3 - c["speed"] * z[0]) ** 2) / width)

        return u

    def residual(u, z, c):
        _, u_x, u_xx = kd.two_derivatives(u, z, 1)
        return kd.derivative(u, 0)(z) + c["speed"] * u_x - c["diffusivity"] * u_xx

    condition = kd.dirichlet(lambda z, c: exact(c)(z))
    return kd.Problem(
        name="advection_diffusion",
        axes=("t", "x"),
        fields=("u",),
        lower=SQUARE[0],
        upper=SQUARE[1],
        coefficients={"speed": 0.4, "diffusivity": 0.01},
        terms={
            "residual": kd.Term(kd.box(*SQUARE), residual),
            "initial": kd.Term(kd.box((0, 0), (0, 1)), condition, count=128),
            "boundary": kd.Term(kd.faces(*SQUARE, axes=(1,)), condition, count=128),
        },
        reference=exact,
    )


def nonlinear_poisson():
    """Δu − u³ = f with u = sin πx sin πy, zero on the walls."""
    exact = lambda z: (jnp.sin(jnp.pi * z[X]) * jnp.sin(jnp.pi * z[Y]))[None]

    def residual(u, z, c):
        source = -2 * jnp.pi**2 * exact(z) - exact(z) ** 3
        return kd.laplacian(u, (X, Y))(z) - u(z) ** 3 - source

    return kd.Problem(
        name="nonlinear_poisson",
        axes=("x", "y"),
        fields=("u",),
        lower=SQUARE[0],
        upper=SQUARE[1],
        terms={
            "residual": kd.Term(kd.box(*SQUARE), residual),
            "walls": kd.Term(kd.faces(*SQUARE, axes=(X, Y)), kd.dirichlet(0.0), count=256),
        },
        reference=lambda c: exact,
    )


def pendulum():
    """θ' = ω, ω' = −θ − ω/5: a damped oscillation with two unknowns of one variable."""

    def residual(u, z, c):
        slope = kd.derivative(u, 0)(z)
        return jnp.stack([slope[0] - u(z)[1], slope[1] + u(z)[0] + c["friction"] * u(z)[1]])

    def exact(c):
        decay, frequency = c["friction"] / 2, jnp.sqrt(1 - c["friction"] ** 2 / 4)

        def u(z):
            amplitude = jnp.exp(-decay * z[0])
            cosine, sine = jnp.cos(frequency * z[0]), jnp.sin(frequency * z[0])
            return jnp.stack([amplitude * (cosine + decay / frequency * sine), -amplitude * sine / frequency])

        return u

    start = kd.dirichlet(lambda z, c: jnp.array([1.0, 0.0]))
    return kd.Problem(
        name="pendulum",
        axes=("t",),
        fields=("angle", "rate"),
        lower=(0.0,),
        upper=(6.0,),
        coefficients={"friction": 0.2},
        terms={
            "residual": kd.Term(kd.box((0,), (6,)), residual, count=200),
            "start": kd.Term(kd.box((0,), (0,)), start, count=1),
        },
        reference=exact,
    )


@pytest.mark.slow
@pytest.mark.parametrize("make_problem", [advection_diffusion, nonlinear_poisson, pendulum])
def test_defaults_reach_1e5(make_problem):
    problem = make_problem()
    model = kd.train_teacher(problem, jax.random.key(0), network=kd.MLP((14, 14)), progress=False)
    assert kd.diagnose(model.training) == ()
    assert kd.evaluate(model).relative_l2 <= 1e-5


@pytest.mark.slow
def test_the_exact_solutions_are_solutions():
    for problem in (advection_diffusion(), nonlinear_poisson(), pendulum()):
        exact = problem.reference(problem.coefficients)
        for name, term in problem.terms.items():
            z = term.sample(jax.random.key(1), 16)
            r = jax.vmap(lambda row, term=term: term.residual(exact, row, problem.coefficients))(z)  # noqa: B023
            assert float(np.abs(r).max()) < 1e-10, (problem.name, name)
