"""The loss and its gradient against the same sums written out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdpinn_jax as kd
from kdpinn_jax.training.blocks import BLOCK
from kdpinn_jax.training.residuals import residuals_and_weighted_jacobian, weighted_vector

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def shallow(heat):
    """Heat with one hidden layer, whose derivatives can be written down, its parameters and its points."""
    target = kd.objective(heat, kd.MLP((5,)))
    params = kd.init_params(heat, target.network, KEY)
    return target, params, kd.sample(target, jax.random.key(1))


def by_hand(params, z):
    """u, uₜ, uₓₓ of v·tanh(A s + b) + c with s = 2z − 1, in numpy."""
    a, b = np.asarray(params["dense_0"]["kernel"]), np.asarray(params["dense_0"]["bias"])
    v, c = np.asarray(params["dense_1"]["kernel"])[:, 0], np.asarray(params["dense_1"]["bias"])[0]
    h = np.tanh((2 * z - 1) @ a + b[None, :])
    slope, bend = 1 - h**2, -2 * h * (1 - h**2)
    return h @ v + c, slope @ (2 * a[0] * v), bend @ (4 * a[1] ** 2 * v)


def test_loss_by_hand(shallow):
    target, params, points = shallow
    z = {name: np.asarray(rows) for name, rows in points.rows.items()}
    _, u_t, u_xx = by_hand(params, z["residual"])
    parts = {
        "residual": np.mean((u_t - 0.1 * u_xx) ** 2),
        "initial": np.mean((by_hand(params, z["initial"])[0] - np.sin(np.pi * z["initial"][:, 1])) ** 2),
        "boundary": np.mean(by_hand(params, z["boundary"])[0] ** 2),
    }
    got = kd.mean_squares(target, params, points)
    assert set(got) == set(parts)
    for name, part in parts.items():
        np.testing.assert_allclose(got[name], part, rtol=1e-12)
    total = parts["residual"] + 10 * parts["initial"] + 10 * parts["boundary"]
    np.testing.assert_allclose(kd.loss(target, params, points), total, rtol=1e-12)
    r = kd.residuals(target, params, points)
    assert {name: values.shape for name, values in r.items()} == {name: (len(rows), 1) for name, rows in z.items()}
    np.testing.assert_allclose(r["residual"][:, 0], u_t - 0.1 * u_xx, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_gradient_block_by_block(heat):
    """Counts below, at and above a block, none a multiple of the next: padding must not count."""
    counts = {"residual": 2 * BLOCK + 276, "initial": BLOCK + 1, "boundary": BLOCK, "one": 1}
    terms = {name: kd.Term(term.sample, term.residual, counts[name]) for name, term in heat.terms.items()}
    terms["one"] = kd.Term(kd.box((0.5, 0.5), (0.5, 0.5)), kd.dirichlet(3.0), counts["one"])
    target = kd.objective(heat, kd.MLP((4,)), terms=terms, weights={"one": 0.7})
    params = kd.init_params(heat, target.network, KEY)
    points = kd.sample(target, jax.random.key(2))
    assert {name: len(rows) for name, rows in points.rows.items()} == counts
    u = jax.vmap(kd.Model(heat, target.network, params, target.coefficients).field)

    def unblocked(params):
        """Every term over all its points at once."""
        field = kd.Model(heat, target.network, params, target.coefficients).field
        total = 0.0
        for name, term in target.terms.items():
            r = jax.vmap(lambda z, term=term: term.residual(field, z, target.coefficients))(points.rows[name])
            total += target.weights[name] * jnp.mean(jnp.sum(r**2, axis=1))
        return total

    value, gradient = jax.jit(jax.value_and_grad(unblocked))(params)
    ((got, parts), got_gradient) = jax.jit(kd.loss_and_grad)(target, params, points)
    np.testing.assert_allclose(got, value, rtol=1e-13)
    np.testing.assert_allclose(jax.jit(kd.loss)(target, params, points), value, rtol=1e-13)
    np.testing.assert_allclose(parts["one"], (u(points.rows["one"])[0, 0] - 3) ** 2, rtol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13), got_gradient, gradient)


def test_a_key_means_the_same_points_inside_jit(shallow):
    target, _, points = shallow
    inside = jax.jit(kd.sample)(target, jax.random.key(1))
    for name, rows in points.rows.items():
        np.testing.assert_allclose(inside.rows[name], rows, rtol=1e-15)


def test_weights(heat, shallow):
    _, params, points = shallow
    loss = jax.jit(kd.loss_and_grad)

    def of(**weights):
        target = kd.objective(heat, kd.MLP((5,)), weights=weights)
        (value, parts), gradient = loss(target, params, points)
        return float(value), parts, jax.flatten_util.ravel_pytree(gradient)[0]

    base, parts, gradient = of(residual=1.0, initial=1.0, boundary=0.0)
    assert base == pytest.approx(float(parts["residual"] + parts["initial"]), rel=1e-14)
    doubled, _, gradient_doubled = of(residual=1.0, initial=2.0, boundary=0.0)
    assert doubled - base == pytest.approx(float(parts["initial"]), rel=1e-12)
    alone, _, gradient_alone = of(residual=0.0, initial=1.0, boundary=0.0)
    assert alone == pytest.approx(float(parts["initial"]), rel=1e-14)
    np.testing.assert_allclose(gradient_doubled - gradient, gradient_alone, rtol=1e-10, atol=1e-13)
    assert of(residual=0.0, initial=0.0, boundary=0.0)[0] == 0


def test_coefficients_reach_the_residual(heat, shallow):
    _, params, points = shallow
    target = kd.objective(heat, kd.MLP((5,)), coefficients={"alpha": 0.7})
    _, u_t, u_xx = by_hand(params, np.asarray(points.rows["residual"]))
    got = kd.mean_squares(target, params, points)["residual"]
    np.testing.assert_allclose(got, np.mean((u_t - 0.7 * u_xx) ** 2), rtol=1e-12)


def test_terms_in_force(heat):
    """Enforced terms are left out, further ones added, the problem's own replaced."""
    burgers = kd.problems.ALL["burgers"]
    assert list(kd.objective(burgers).terms) == ["residual"]
    assert list(kd.objective(kd.with_conditions(burgers, "soft")).terms) == ["residual", "initial", "boundary"]
    again = kd.Term(kd.box((0, 0), (0, 1)), kd.dirichlet(0.0), count=7)
    target = kd.objective(heat, terms={"initial": again, "more": again})
    assert target.terms["initial"] is target.terms["more"] is again
    assert target.weights == {"residual": 1.0, "initial": 10.0, "boundary": 10.0, "more": 1.0}
    assert kd.objective(kd.problems.ALL["taylor_green"]).network.outputs == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": {"residul": 1.0}}, "weight 'residul' is unknown.*did you mean 'residual'.*Known: "),
        ({"weights": {"zzz": 1.0}}, "'zzz' is unknown to problem 'heat'; Known: residual, initial, boundary"),
        ({"weights": {"initial": -1.0}}, "weight initial=-1.0 must not be negative"),
        ({"weights": {"initial": float("nan")}}, "must not be negative or NaN"),
        ({"weights": {"initial": float("inf")}}, "must be finite"),
        ({"coefficients": {"alhpa": 1.0}}, "coefficient 'alhpa' is unknown.*did you mean 'alpha'"),
        ({"coefficients": {"alpha": float("nan")}}, "coefficient alpha=nan must be finite"),
    ],
)
def test_errors(heat, arguments, message):
    with pytest.raises(ValueError, match=message):
        kd.objective(heat, **arguments)


def test_weight_of_an_enforced_term():
    with pytest.raises(ValueError, match=r"'initial' is unknown.*its ansatz satisfies it identically"):
        kd.objective(kd.problems.ALL["burgers"], weights={"initial": 1.0})


@pytest.mark.parametrize("name", ["loss", "step", "seconds", "relative_l2"])
def test_names_the_history_needs(heat, name):
    """A term of such a name would be written over the history's own column."""
    with pytest.raises(ValueError, match=f"'{name}'.*rename"):
        kd.objective(heat, terms={name: heat.terms["initial"]})


@pytest.mark.slow
def test_measured_data_in_another_precision(decay):
    """float32 measurements, more than one block of them, beside float64 parameters."""
    z = np.linspace(0, 1, BLOCK + 100, dtype=np.float32)[:, None]
    target = kd.objective(decay, terms={"data": kd.data(z, np.exp(-z))})
    params = kd.init_params(decay, target.network, KEY)
    points = kd.sample(target, KEY)
    assert points.rows["data"].dtype == np.float32
    (value, _), gradient = kd.loss_and_grad(target, params, points)
    assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(gradient))
    r, jacobian = residuals_and_weighted_jacobian(target, params, points)
    residual = weighted_vector(target, points, r)
    assert residual.dtype == jacobian.dtype == np.float64
    np.testing.assert_allclose(jnp.sum(residual**2), value, rtol=1e-12)
