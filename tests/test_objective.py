"""The loss and its gradient agree with explicit sums; the objective validates its terms, weights and coefficients."""

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
    """The objective of heat for one hidden layer, whose derivatives have a closed form; parameters; points."""
    target = kd.objective(heat, kd.MLP((5,)))
    params = kd.init_params(heat, target.network, KEY)
    return target, params, kd.sample(target, jax.random.key(1))


def by_hand(params, z):
    """u, uₜ and uₓₓ of u = v·tanh(A s + b) + c with s = 2z − 1, in NumPy."""
    a, b = np.asarray(params["dense_0"]["kernel"]), np.asarray(params["dense_0"]["bias"])
    v, c = np.asarray(params["dense_1"]["kernel"])[:, 0], np.asarray(params["dense_1"]["bias"])[0]
    h = np.tanh((2 * z - 1) @ a + b[None, :])
    slope, curvature = 1 - h**2, -2 * h * (1 - h**2)
    return h @ v + c, slope @ (2 * a[0] * v), curvature @ (4 * a[1] ** 2 * v)


def test_loss_agrees_with_explicit_sums(shallow):
    target, params, points = shallow
    z = {name: np.asarray(rows) for name, rows in points.rows.items()}
    _, u_t, u_xx = by_hand(params, z["residual"])
    mean_squares = {
        "residual": np.mean((u_t - 0.1 * u_xx) ** 2),
        "initial": np.mean((by_hand(params, z["initial"])[0] - np.sin(np.pi * z["initial"][:, 1])) ** 2),
        "boundary": np.mean(by_hand(params, z["boundary"])[0] ** 2),
    }
    computed = kd.mean_squares(target, params, points)
    assert set(computed) == set(mean_squares)
    for name, mean_square in mean_squares.items():
        np.testing.assert_allclose(computed[name], mean_square, rtol=1e-12)
    total = mean_squares["residual"] + 10 * mean_squares["initial"] + 10 * mean_squares["boundary"]
    np.testing.assert_allclose(kd.loss(target, params, points), total, rtol=1e-12)
    r = kd.residuals(target, params, points)
    assert {name: values.shape for name, values in r.items()} == {name: (len(rows), 1) for name, rows in z.items()}
    np.testing.assert_allclose(r["residual"][:, 0], u_t - 0.1 * u_xx, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_gradient_does_not_depend_on_blocks(heat):
    """The padding of the last block must not count: the counts lie below, at and above the size of a block."""
    counts = {"residual": 2 * BLOCK + 276, "initial": BLOCK + 1, "boundary": BLOCK, "one": 1}
    terms = {name: kd.Term(term.sample, term.residual, counts[name]) for name, term in heat.terms.items()}
    terms["one"] = kd.Term(kd.box((0.5, 0.5), (0.5, 0.5)), kd.dirichlet(3.0), counts["one"])
    target = kd.objective(heat, kd.MLP((4,)), terms=terms, weights={"one": 0.7})
    params = kd.init_params(heat, target.network, KEY)
    points = kd.sample(target, jax.random.key(2))
    assert {name: len(rows) for name, rows in points.rows.items()} == counts
    u = jax.vmap(kd.Model(heat, target.network, params, target.coefficients).field)

    def unblocked(params):
        """The loss with all points of a term at once."""
        field = kd.Model(heat, target.network, params, target.coefficients).field
        total = 0.0
        for name, term in target.terms.items():
            r = jax.vmap(lambda z, term=term: term.residual(field, z, target.coefficients))(points.rows[name])
            total += target.weights[name] * jnp.mean(jnp.sum(r**2, axis=1))
        return total

    value, gradient = jax.jit(jax.value_and_grad(unblocked))(params)
    (loss, mean_squares), blocked_gradient = jax.jit(kd.loss_and_grad)(target, params, points)
    np.testing.assert_allclose(loss, value, rtol=1e-13)
    np.testing.assert_allclose(jax.jit(kd.loss)(target, params, points), value, rtol=1e-13)
    np.testing.assert_allclose(mean_squares["one"], (u(points.rows["one"])[0, 0] - 3) ** 2, rtol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13), blocked_gradient, gradient)


def test_key_draws_the_same_points_inside_jit(shallow):
    target, _, points = shallow
    inside = jax.jit(kd.sample)(target, jax.random.key(1))
    for name, rows in points.rows.items():
        np.testing.assert_allclose(inside.rows[name], rows, rtol=1e-15)


def test_loss_and_gradient_are_linear_in_the_weights(heat, shallow):
    _, params, points = shallow
    loss_and_grad = jax.jit(kd.loss_and_grad)

    def weighted(**weights):
        target = kd.objective(heat, kd.MLP((5,)), weights=weights)
        (loss, mean_squares), gradient = loss_and_grad(target, params, points)
        return float(loss), mean_squares, jax.flatten_util.ravel_pytree(gradient)[0]

    base, mean_squares, gradient = weighted(residual=1.0, initial=1.0, boundary=0.0)
    assert base == pytest.approx(float(mean_squares["residual"] + mean_squares["initial"]), rel=1e-14)
    doubled, _, gradient_doubled = weighted(residual=1.0, initial=2.0, boundary=0.0)
    assert doubled - base == pytest.approx(float(mean_squares["initial"]), rel=1e-12)
    alone, _, gradient_alone = weighted(residual=0.0, initial=1.0, boundary=0.0)
    assert alone == pytest.approx(float(mean_squares["initial"]), rel=1e-14)
    np.testing.assert_allclose(gradient_doubled - gradient, gradient_alone, rtol=1e-10, atol=1e-13)
    assert weighted(residual=0.0, initial=0.0, boundary=0.0)[0] == 0


def test_coefficients_reach_the_residual(heat, shallow):
    _, params, points = shallow
    target = kd.objective(heat, kd.MLP((5,)), coefficients={"alpha": 0.7})
    _, u_t, u_xx = by_hand(params, np.asarray(points.rows["residual"]))
    mean_square = kd.mean_squares(target, params, points)["residual"]
    np.testing.assert_allclose(mean_square, np.mean((u_t - 0.7 * u_xx) ** 2), rtol=1e-12)


def test_terms_of_an_objective(heat):
    """Enforced terms are left out, additional ones are added, and the problem's own terms can be replaced."""
    burgers = kd.problems.ALL["burgers"]
    assert list(kd.objective(burgers).terms) == ["residual"]
    assert list(kd.objective(kd.with_conditions(burgers, "soft")).terms) == ["residual", "initial", "boundary"]
    term = kd.Term(kd.box((0, 0), (0, 1)), kd.dirichlet(0.0), count=7)
    target = kd.objective(heat, terms={"initial": term, "more": term})
    assert target.terms["initial"] is target.terms["more"] is term
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
def test_invalid_arguments(heat, arguments, message):
    with pytest.raises(ValueError, match=message):
        kd.objective(heat, **arguments)


def test_weight_of_an_enforced_term():
    with pytest.raises(ValueError, match=r"'initial' is unknown.*its ansatz satisfies it identically"):
        kd.objective(kd.problems.ALL["burgers"], weights={"initial": 1.0})


@pytest.mark.parametrize("name", ["loss", "step", "seconds", "relative_l2"])
def test_term_names_reserved_by_the_history(heat, name):
    """A term of such a name would overwrite a column of the history."""
    with pytest.raises(ValueError, match=f"'{name}'.*rename"):
        kd.objective(heat, terms={name: heat.terms["initial"]})


@pytest.mark.slow
def test_float32_data_with_float64_parameters(decay):
    """There are more measurements than one block holds."""
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
