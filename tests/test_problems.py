"""Every shipped problem: its reference satisfies its equation and conditions, and a wrong coefficient is noticed."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

import kdpinn_jax as kd
from kdpinn_jax.problems.references.burgers import burgers

ALL = kd.problems.ALL

#: The largest root mean square of the residual of a reference, relative to the slopes of the solution. Closed forms
#: reach the rounding of two derivatives; the others are numerical solutions, converged but not exact. The velocity of
#: the cavity has an error of 5e-5, which two derivatives of 32 modes per axis, divided by Re, multiply by about ten.
ACCURACY = {"black_scholes": 1e-11, "burgers": 1e-9, "taylor_green": 1e-12, "lid_driven_cavity": 2e-3}
NUMERICAL = 1e-4
CONDITIONS = ACCURACY | {"lid_driven_cavity": 1e-4}

POINTS = 64


def is_smooth(name, z):
    """Whether each point is in a region where a finite sum or a smooth function can represent the solution."""
    if name == "allen_cahn":  # the initial value has a kink at x = ±1; before t = 0.05 its spectrum is too long
        return z[:, 0] >= 0.05
    if name == "lid_driven_cavity":  # the velocity jumps at the two top corners, where all derivatives are infinite
        return np.minimum(np.hypot(z[:, 0], z[:, 1] - 1), np.hypot(z[:, 0] - 1, z[:, 1] - 1)) >= 0.1
    return np.ones(len(z), bool)


def root_mean_square(r):
    return float(np.sqrt(np.mean(np.sum(np.asarray(r).reshape(len(r), -1) ** 2, axis=1))))


#: Problems with a numerical reference, with the corner flow in the ansatz, or with fourth derivatives compile slowly.
SLOW = {
    name: [pytest.mark.slow] for name in ("lid_driven_cavity", "allen_cahn", "kuramoto_sivashinsky", "fitzhugh_nagumo")
}


@pytest.fixture(scope="module", params=[pytest.param(name, marks=SLOW.get(name, ())) for name in ALL])
def solved(request):
    """A problem with soft conditions, its reference, points of every term, and the root mean square of its slopes."""
    problem = kd.with_conditions(ALL[request.param], "soft")
    exact = problem.reference(problem.coefficients)
    keys = jax.random.split(jax.random.key(0), len(problem.terms))
    points = {}
    for key, (name, term) in zip(keys, problem.terms.items(), strict=True):
        z = np.asarray(term.sample(key, 2 * POINTS))
        points[name] = jnp.asarray(z if name in ("initial", "gauge") else z[is_smooth(problem.name, z)][:POINTS])
        assert len(points[name]) >= min(POINTS, 32)
    slopes = jax.jit(jax.vmap(jax.jacfwd(exact)))(points["residual"])
    return problem, exact, points, root_mean_square(slopes)


@pytest.fixture(scope="module")
def residual_size(solved):
    """coefficients -> root mean square of the residual of the reference, divided by that of its slopes."""
    problem, exact, points, size = solved

    @jax.jit
    def residuals(coefficients):
        return jax.vmap(lambda z: problem.terms["residual"].residual(exact, z, coefficients))(points["residual"])

    return lambda coefficients: root_mean_square(residuals(coefficients)) / size


def test_exact_solution_satisfies_the_equation(solved, residual_size):
    problem = solved[0]
    assert residual_size(dict(problem.coefficients)) < ACCURACY.get(problem.name, NUMERICAL)


def test_a_wrong_coefficient_has_a_larger_residual(solved, residual_size):
    problem = solved[0]
    right = residual_size(dict(problem.coefficients))
    for name, value in problem.coefficients.items():
        wrong = residual_size(dict(problem.coefficients) | {name: 1.1 * value})
        assert wrong > 5 * right, name
        assert wrong > 1e-4, name


def test_exact_solution_satisfies_the_conditions(solved):
    problem, exact, points, size = solved

    @jax.jit
    def misfits(points):
        return {
            name: jax.vmap(lambda z, term=term: term.residual(exact, z, problem.coefficients))(points[name])
            for name, term in problem.terms.items()
        }

    for name, values in misfits(points).items():
        if name != "residual":
            assert root_mean_square(values) < CONDITIONS.get(problem.name, NUMERICAL) * (1 + size), name


def test_reference_is_differentiable_and_of_the_right_shape(solved):
    problem, exact, points, _ = solved
    z, d, step = points["residual"][3], len(problem.axes), 1e-5
    shifts = step * np.concatenate([np.eye(d), -np.eye(d)])
    values = jax.jit(jax.vmap(exact))(z[None, :] + shifts)
    assert values.shape == (2 * d, len(problem.fields))
    differences = (values[:d] - values[d:]) / (2 * step)
    slopes, curvatures = jax.jit(lambda z: (jax.jacfwd(exact)(z), jax.jacfwd(jax.jacfwd(exact))(z)))(z)
    np.testing.assert_allclose(slopes.T, differences, rtol=1e-4, atol=1e-6)
    assert np.all(np.isfinite(curvatures))


HARD = [name for name, problem in ALL.items() if problem.conditions == "hard"]


@pytest.mark.slow
@pytest.mark.parametrize("name", HARD)
def test_hard_conditions_hold_for_any_parameters(untrained, name):
    problem = ALL[name]
    model = untrained(problem, 3, kd.MLP((6,)))
    # The ansatz uses the coefficients of the model, not those of the problem.
    coefficients = {coefficient: 1.3 * value for coefficient, value in model.coefficients.items()}
    u = replace(model, coefficients=coefficients).field

    @jax.jit
    def misfits(key):
        return {
            name: jax.vmap(lambda z, term=term: term.residual(u, z, coefficients))(term.sample(key, 40))
            for name, term in problem.terms.items()
        }

    values = misfits(jax.random.key(1))
    for term_name in problem.enforced:
        assert float(jnp.max(jnp.abs(values[term_name]))) < 1e-12, term_name
    assert np.all(np.isfinite(values["residual"]))
    assert root_mean_square(values["residual"]) > 1e-3  # only training satisfies the equation


@pytest.mark.parametrize("name", ALL)
def test_with_conditions(name):
    problem = ALL[name]
    soft = kd.with_conditions(problem, "soft")
    assert soft is kd.with_conditions(problem, "soft")
    assert kd.with_conditions(soft, "soft") is soft
    assert (soft.conditions, soft.ansatz, soft.enforced) == ("soft", None, ())
    assert set(kd.objective(soft).terms) == set(problem.terms)
    if problem.conditions == "hard":
        assert kd.with_conditions(problem, "hard") is problem
        assert set(kd.objective(problem).terms) == set(problem.terms) - set(problem.enforced)
        assert soft.embed is None
        assert problem.embed is not None or problem.ansatz is not None


def test_with_conditions_without_an_ansatz(heat):
    assert kd.with_conditions(heat, "soft") is heat
    with pytest.raises(ValueError, match="no ansatz for hard conditions; use conditions='soft'"):
        kd.with_conditions(heat, "hard")


def test_with_conditions_unknown(unchecked):
    with pytest.raises(ValueError, match="conditions='firm' is unknown; use 'soft' or 'hard'"):
        kd.with_conditions(ALL["burgers"], "firm")


@pytest.mark.parametrize("name", ALL)
def test_points_lie_in_the_domain(name):
    problem = ALL[name]
    for term in problem.terms.values():
        z = np.asarray(term.sample(jax.random.key(0), 16))
        assert z.shape == (16, len(problem.axes))
        assert np.all((z >= problem.lower) & (z <= problem.upper))


def test_periodic_embedding():
    embed = kd.periodic_embedding((0, -1), (2, 3), axes=(1,), harmonics=3)
    z = jnp.array([0.5, 0.7])
    across = jnp.array([0.5, 4.7])
    assert embed(z).shape == (7,)
    np.testing.assert_allclose(embed(z), embed(across), atol=1e-14)
    assert embed(z)[0] == -0.5
    theta = 2 * np.pi * 1.7 / 4
    harmonics = [f(j * theta) for f in (np.cos, np.sin) for j in (1, 2, 3)]
    np.testing.assert_allclose(sorted(embed(z)[1:]), sorted(harmonics), atol=1e-14)
    assert not np.allclose(embed(z), embed(z + jnp.array([0.0, 2.0])))  # half a period


@pytest.mark.parametrize(("name", "axes"), [("allen_cahn", (1,)), ("taylor_green", (1, 2))])
def test_embeddings_of_periodic_problems(untrained, name, axes):
    """For any parameters, u and its slopes are periodic."""
    problem = ALL[name]
    u = untrained(problem, 5, kd.MLP((6,))).field
    value_and_slopes = jax.jit(lambda z: (u(z), jax.jacfwd(u)(z)))
    z = jnp.asarray(problem.lower) + 0.3
    for axis in axes:
        across = z.at[axis].add(problem.upper[axis] - problem.lower[axis])
        for value, shifted in zip(value_and_slopes(z), value_and_slopes(across), strict=True):
            np.testing.assert_allclose(value, shifted, atol=1e-11)


def test_problem_errors(heat):
    with pytest.raises(ValueError, match="must be 2 finite numbers, one for each of the axes"):
        replace(heat, lower=(0.0,))
    with pytest.raises(ValueError, match="must be less than upper"):
        replace(heat, upper=(1.0, 0.0))
    with pytest.raises(ValueError, match=r"enforced names \['start'\]"):
        replace(heat, enforced=("start",))
    with pytest.raises(ValueError, match=r"weights names \['bondary'\]"):
        replace(heat, weights={"bondary": 1.0})
    with pytest.raises(ValueError, match="count=0"):
        kd.Term(kd.box((0,), (1,)), kd.dirichlet(0.0), count=0)


# Burgers ------------------------------------------------------------------------------------------------------------

SPACE_TIME = np.stack(np.meshgrid([1e-8, 1e-4, 0.02, 0.3, 0.6, 1.0], np.linspace(-1, 1, 41), indexing="ij"), -1)


@pytest.mark.parametrize("nu", [0.01 / np.pi, 0.05])
def test_burgers_quadrature_has_converged(nu):
    z = jnp.asarray(SPACE_TIME.reshape(-1, 2))
    few, many = (jax.jit(jax.vmap(burgers({"nu": nu}, nodes)))(z) for nodes in (160, 240))
    np.testing.assert_allclose(few, many, rtol=0, atol=1e-12)


def test_burgers_quadrature_at_a_smaller_viscosity():
    """For ν three times smaller the integrand is √3 times narrower. As many nodes give fewer digits, but enough."""
    z = jnp.asarray(SPACE_TIME.reshape(-1, 2))
    few, many = (jax.jit(jax.vmap(burgers({"nu": 0.001}, nodes)))(z) for nodes in (160, 320))
    np.testing.assert_allclose(few, many, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("t", "x"), [(0.1, 0.3), (0.4, -0.05), (1.0, 0.01), (0.9, 0.7)])
def test_burgers_against_adaptive_quadrature(t, x):
    nu = 0.02 / np.pi
    shift = 1 / (2 * np.pi * nu)
    weight = lambda y: np.exp(-(np.cos(np.pi * y)) / (2 * np.pi * nu) - (x - y) ** 2 / (4 * nu * t) - shift)
    breaks = {"points": [-1, 0, x, 1], "limit": 500, "epsabs": 0, "epsrel": 1e-12}
    top = quad(lambda y: (x - y) / t * weight(y), -4, 4, **breaks)[0]
    bottom = quad(weight, -4, 4, **breaks)[0]
    assert float(burgers({"nu": nu})(jnp.array([t, x]))[0]) == pytest.approx(top / bottom, abs=1e-9)


def test_burgers_starts_as_a_sine_and_remains_odd():
    u = jax.jit(jax.vmap(burgers({"nu": 0.01 / np.pi})))
    x = np.linspace(-1, 1, 41)
    at = lambda t, x: np.asarray(u(jnp.asarray(np.stack([np.full_like(x, t), x], axis=1))))[:, 0]
    np.testing.assert_allclose(at(0.0, x), -np.sin(np.pi * x), atol=1e-14)
    # u = u₀ + t (ν u₀'' − u₀ u₀') + O(t²), where O(t²) is below 1e-10 at t = 1e-6.
    slope = 0.01 * np.pi * np.sin(np.pi * x) - np.pi * np.sin(np.pi * x) * np.cos(np.pi * x)
    np.testing.assert_allclose(at(1e-6, x), -np.sin(np.pi * x) + 1e-6 * slope, atol=1e-10)
    np.testing.assert_allclose(at(0.7, x), -at(0.7, -x), atol=1e-12)
    assert np.max(np.abs(at(1.0, x))) < 1  # the maximum principle


# Black–Scholes ------------------------------------------------------------------------------------------------------


def call(t, s, sigma, r):
    """The value of the call at one point, from the reference."""
    reference = ALL["black_scholes"].reference({"sigma": sigma, "r": r})
    return float(reference(jnp.array([t, s]))[0])


@pytest.mark.parametrize(("sigma", "r"), [(0.2, 0.05), (0.1, 0.0), (0.5, 0.1)])
def test_black_scholes_is_a_discounted_expectation(sigma, r):
    """V = e^{−rτ} E[max(S_T − 1, 0)] with log S_T normal, by quadrature. The put, computed alike, checks the parity."""
    for t, s in [(0.0, 1.0), (0.5, 0.8), (0.9, 1.1), (0.2, 2.9)]:
        tau = 1 - t
        distribution = norm(np.log(s) + (r - sigma**2 / 2) * tau, sigma * np.sqrt(tau))
        mean, deviation = distribution.mean(), distribution.std()
        price, put = (
            np.exp(-r * tau)
            * quad(
                lambda x, sign=sign, pdf=distribution.pdf: max(sign * (np.exp(x) - 1), 0) * pdf(x),
                mean - 12 * deviation,
                mean + 12 * deviation,
                points=[0.0],
                epsabs=1e-13,
            )[0]
            for sign in (1, -1)
        )
        assert call(t, s, sigma, r) == pytest.approx(price, abs=1e-9)
        assert call(t, s, sigma, r) - put == pytest.approx(s - np.exp(-r * tau), abs=1e-9)


def test_black_scholes_limits():
    sigma, r = 0.2, 0.05
    for s in (0.0, 0.4, 1.0, 2.5):
        assert call(1.0, s, sigma, r) == max(s - 1, 0)
    for t in (0.0, 0.7):
        assert call(t, 0.0, sigma, r) == 0
        assert call(t, 20.0, sigma, r) == pytest.approx(20 - np.exp(-r * (1 - t)), abs=1e-12)  # deep in the money
        spots = np.linspace(0, 3, 61)
        prices = np.array([call(t, s, sigma, r) for s in spots])
        assert np.all(prices >= np.maximum(spots - np.exp(-r * (1 - t)), 0) - 1e-15)
        assert np.all(prices <= spots)
        assert np.all(np.diff(prices) >= 0)
        assert np.all(np.diff(prices, 2) >= -1e-14)  # convex
    # With almost no volatility, the value is the intrinsic value of the forward.
    assert call(0.5, 1.2, 1e-4, r) == pytest.approx(1.2 - np.exp(-r / 2), abs=1e-12)
    assert call(0.5, 0.8, 1e-4, r) == pytest.approx(0.0, abs=1e-12)


def test_black_scholes_delta():
    """The derivative of the reference is V_S = Φ(d₁)."""
    reference = ALL["black_scholes"].reference({"sigma": 0.3, "r": 0.02})
    s, tau = 1.1, 0.75
    d1 = (np.log(s) + (0.02 + 0.045) * tau) / (0.3 * np.sqrt(tau))
    np.testing.assert_allclose(kd.derivative(reference, 1)(jnp.array([0.25, s])), [norm.cdf(d1)], rtol=1e-12)


# Taylor–Green -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_taylor_green():
    nu = 0.03
    reference = ALL["taylor_green"].reference({"nu": nu})
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    x, y = (a.ravel() for a in np.meshgrid(angles, angles))

    def at(t):
        return np.asarray(jax.vmap(reference)(jnp.asarray(np.stack([np.full_like(x, t), x, y], axis=1))))

    np.testing.assert_allclose(at(0.0)[:, 0], -np.cos(x) * np.sin(y), atol=1e-15)
    np.testing.assert_allclose(at(0.0)[:, 1], np.sin(x) * np.cos(y), atol=1e-15)
    energy = [np.mean(at(t)[:, :2] ** 2) for t in (0.0, 0.8)]
    assert energy[1] / energy[0] == pytest.approx(np.exp(-4 * nu * 0.8), rel=1e-12)
    # Δp = −(uₓ² + 2 u_y vₓ + v_y²) determines the pressure.
    z = jnp.array([0.4, 0.9, 2.1])
    slopes = jax.jacfwd(reference)(z)
    source = -(slopes[0, 1] ** 2 + 2 * slopes[0, 2] * slopes[1, 1] + slopes[1, 2] ** 2)
    assert float(kd.laplacian(reference, (1, 2))(z)[2]) == pytest.approx(float(source), rel=1e-12)
    assert abs(float(kd.divergence(reference, (1, 2))(z)[0])) < 1e-15
