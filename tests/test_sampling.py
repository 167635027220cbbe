"""Samplers stay in bounds, are balanced and unbiased; adaptive resampling has the stated distribution."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

import kdpinn_jax as kd
from kdpinn_jax.training.points import draw_evenly, renew
from kdpinn_jax.training.resampling import importance_resample

KEY = jax.random.key(0)
DESIGNS = ("uniform", "latin_hypercube", "sobol")
# XLA takes numbers below 2e-308 for zero.
intervals = st.tuples(st.floats(-1e3, 1e3, allow_subnormal=False), st.one_of(st.just(0.0), st.floats(1e-3, 1e3)))


@given(st.lists(intervals, min_size=2, max_size=2), st.sampled_from(DESIGNS), st.integers(0, 2**31), st.booleans())
def test_points_lie_in_the_box(sides, design, seed, double):
    lower = [a for a, _ in sides]
    upper = [a + width for a, width in sides]
    with jax.enable_x64(double):
        z = kd.box(lower, upper, design)(jax.random.key(seed), 33)
        low, high = np.asarray(lower, z.dtype), np.asarray(upper, z.dtype)
    assert z.shape == (33, 2)
    assert z.dtype == (np.float64 if double else np.float32)
    assert np.all(np.asarray(z) >= low)
    assert np.all(np.asarray(z) <= high)
    for column, (_, width) in zip(np.asarray(z).T, sides, strict=True):
        if not width:
            assert len(np.unique(column)) == 1
        elif double:
            assert len(np.unique(column)) == 33


@pytest.mark.parametrize("n", [1, 3])
def test_every_design_draws_n_points(n):
    for design in DESIGNS:
        assert kd.box((0,), (1,), design)(jax.random.key(0), n).shape == (n, 1)


@pytest.mark.parametrize("n", [1, 37])
def test_latin_hypercube_has_one_point_in_each_slice(n):
    z = np.asarray(kd.box((-1, 2, 0), (1, 5, 1), "latin_hypercube")(jax.random.key(3), n))
    unit = (z - [-1, 2, 0]) / [2, 3, 1]
    for column in unit.T:
        assert sorted(np.floor(column * n)) == list(range(n))
    if n == 37:
        assert not np.array_equal(np.argsort(unit[:, 0]), np.argsort(unit[:, 1]))  # the axes are shuffled independently


@pytest.mark.parametrize("k", [3, 6])
def test_sobol_is_a_net(k):
    """Of 2^k points in the square, one lies in each dyadic box of area 2^−k, for any random shift."""
    z = np.asarray(kd.box((0, 0), (1, 1), "sobol")(jax.random.key(5), 2**k))
    for i in range(k + 1):
        boxes = {tuple(b) for b in np.floor(z * [2**i, 2 ** (k - i)]).astype(int)}
        assert len(boxes) == 2**k


def integration_errors(design):
    """Errors of the mean of exp(x) sin(πy) over 512 points, one for each of 16 keys."""
    sampler = kd.box((0, 0), (1, 1), design)
    z = jax.vmap(lambda key: sampler(key, 512))(jax.random.split(jax.random.key(1), 16))
    exact = (np.e - 1) * 2 / np.pi
    return np.mean(np.exp(z[..., 0]) * np.sin(np.pi * z[..., 1]), axis=1) - exact


def test_sobol_integrates_more_accurately_than_uniform_points():
    rms = {design: np.sqrt(np.mean(integration_errors(design) ** 2)) for design in DESIGNS}
    assert rms["sobol"] < rms["uniform"] / 10
    assert rms["latin_hypercube"] < rms["uniform"]


@pytest.mark.parametrize("design", DESIGNS)
def test_mean_over_keys_is_unbiased(design):
    """Each draw is uniform: over 4000 keys the mean of x² y is 1/3 · 1/2 within four standard errors."""
    sampler = kd.box((0, 0), (1, 1), design)
    z = jax.vmap(lambda key: sampler(key, 3))(jax.random.split(jax.random.key(2), 4000))
    means = np.mean(np.asarray(z[..., 0] ** 2 * z[..., 1]), axis=1)
    assert abs(means.mean() - 1 / 6) < 4 * means.std() / np.sqrt(4000)


@pytest.mark.parametrize("design", DESIGNS)
def test_draws_depend_only_on_the_key(design):
    sampler = kd.box((0, 0), (1, 1), design)
    draw, repeated, other = (np.asarray(sampler(jax.random.key(seed), 16)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(draw, repeated)
    assert not np.any(draw == other)


def test_union_divides_the_points_evenly():
    sampler = kd.union(*(kd.box((i,), (i + 0.5,)) for i in range(3)))
    for n in (1, 2, 7, 9):
        z = np.asarray(sampler(jax.random.key(0), n))
        counts = np.bincount(np.floor(z[:, 0]).astype(int), minlength=3)
        assert z.shape == (n, 1)
        assert counts.sum() == n
        assert counts.max() - counts.min() <= 1
        assert list(counts) == sorted(counts, reverse=True)


def test_faces_divide_the_points_evenly():
    lower, upper = (0.0, -1.0, 2.0), (1.0, 1.0, 5.0)
    z = np.asarray(kd.faces(lower, upper, axes=(1, 2))(jax.random.key(0), 40))
    on_face = [z[:, axis] == end[axis] for axis in (1, 2) for end in (lower, upper)]
    assert [int(mask.sum()) for mask in on_face] == [10, 10, 10, 10]
    assert np.all(np.sum(on_face, axis=0) == 1)
    assert np.all((z >= lower) & (z <= upper))


def test_adaptive_resampling_has_the_stated_distribution():
    """p ∝ |r|/mean|r| + 1: systematic resampling takes an index ⌊n p⌋ or ⌈n p⌉ times, n p times on average."""
    residuals = np.array([0.0, 1.0, 2.0, 5.0])
    p = residuals / residuals.mean() + 1
    p /= p.sum()
    keys = jax.random.split(jax.random.key(4), 4000)
    for n in (1, 3):
        chosen, weights = jax.vmap(lambda key, n=n: importance_resample(key, jnp.asarray(residuals), n))(keys)
        times = np.stack([np.sum(np.asarray(chosen) == i, axis=1) for i in range(4)], axis=1)
        assert np.all((times >= np.floor(n * p)) & (times <= np.ceil(n * p)))
        np.testing.assert_allclose(times.mean(axis=0), n * p, atol=4 * np.sqrt(0.25 / len(keys)))
        np.testing.assert_allclose(weights, (1 / (4 * p))[np.asarray(chosen)], rtol=1e-12)


def test_importance_weights_make_resampling_unbiased():
    """The expectation of the weighted mean over the chosen points is the mean over all points, for any residuals."""
    residuals, values = (np.random.default_rng(seed).exponential(size=50) for seed in (0, 1))
    keys = jax.random.split(jax.random.key(5), 4000)
    chosen, weights = jax.vmap(lambda key: importance_resample(key, jnp.asarray(residuals), 10))(keys)
    means = np.mean(np.asarray(weights) * values[np.asarray(chosen)], axis=1)
    assert abs(means.mean() - values.mean()) < 4 * means.std() / np.sqrt(len(keys))


def test_resampling_is_uniform_if_all_residuals_are_zero():
    keys = jax.random.split(jax.random.key(9), 4000)
    chosen, weights = jax.vmap(lambda key: importance_resample(key, jnp.zeros(4), 1))(keys)
    times = np.bincount(np.asarray(chosen)[:, 0], minlength=4)
    assert np.all(np.abs(times / 4000 - 0.25) < 4 * np.sqrt(0.1875 / 4000))
    np.testing.assert_array_equal(weights, 1.0)


@pytest.mark.slow
def test_adaptive_points_prefer_large_residuals(decay):
    """|r| = 2 right of the middle and 0 left of it: the densities are 3 : 1, so three quarters lie on the right."""
    step = kd.Term(kd.box((0,), (1,)), lambda u, z, c: jnp.where(z > 0.5, 2.0, 0.0), count=1500)
    target = kd.objective(decay, terms={"jump": step})
    params = kd.init_params(decay, target.network, jax.random.key(0))
    sampling = kd.Sampling(every=1, adaptive=("jump",), candidates=40, unbiased=True)
    points = draw_evenly(target, sampling, jax.random.key(0))
    points = renew(target, sampling, params, jax.random.key(1), points, jnp.asarray(1))
    assert points.rows["jump"].shape == (1500, 1)
    assert abs(float(jnp.mean(points.rows["jump"] > 0.5)) - 0.75) < 0.01
    assert {name: rows.shape for name, rows in points.rows.items() if name != "jump"} == {
        "residual": (32, 1),
        "initial": (1, 1),
    }
    # With the importance weights the mean square is that of evenly drawn points, half of 2².
    assert set(points.importance) == {"jump"}
    assert float(kd.mean_squares(target, params, points)["jump"]) == pytest.approx(2.0, rel=0.01)


@pytest.mark.slow
def test_renewal_of_adaptive_points(decay):
    """All points are redrawn until the warm phase ends, with equal weights before its end; then a quarter each time."""
    target = kd.objective(decay)
    params = kd.init_params(decay, target.network, jax.random.key(0))
    sampling = kd.Sampling(every=10, adaptive=("residual",), replace=0.25, warm=20, unbiased=True, share=0.5)
    points = draw_evenly(target, sampling, jax.random.key(1))
    assert len(points.rows["residual"]) == 16
    assert len(points.rows["initial"]) == 1
    kept = []
    for step in (10, 20, 30, 40):
        before, points = points, renew(target, sampling, params, jax.random.key(step), points, jnp.asarray(step))
        old, new = (np.asarray(p.rows["residual"])[:, 0] for p in (before, points))
        kept.append(int(np.isin(new, old).sum()))
        if kept[-1]:  # a quarter of the rows is replaced; the others keep their positions and weights
            unchanged = np.arange(16) % 4 != step // 10 % 4
            np.testing.assert_array_equal(new[unchanged], old[unchanged])
            weights = [np.asarray(p.importance["residual"])[unchanged] for p in (before, points)]
            np.testing.assert_array_equal(*weights)
        assert np.all(np.asarray(points.importance["residual"]) == 1) == (step < 20)
    assert kept == [0, 0, 12, 12]


@pytest.mark.slow
def test_renewal_preserves_unions_and_measured_data(heat):
    """A fifth of the points is replaced repeatedly: the four sides keep two points each, and the data all rows."""
    z = np.random.default_rng(0).uniform(0, 1, (40, 2))
    sides = kd.Term(kd.faces((0, 0), (1, 1), axes=(0, 1)), kd.dirichlet(0.0), count=8)
    target = kd.objective(heat, terms={"sides": sides, "data": kd.data(z, z[:, :1])})
    params = kd.init_params(heat, target.network, jax.random.key(0))
    sampling = kd.Sampling(every=1, replace=0.2)
    points = draw_evenly(target, sampling, jax.random.key(1))
    for step in range(1, 12):
        points = renew(target, sampling, params, jax.random.key(step), points, jnp.asarray(step))
    rows = np.asarray(points.rows["sides"])
    assert [int(np.sum(rows[:, axis] == end)) for axis in (0, 1) for end in (0, 1)] == [2, 2, 2, 2]
    np.testing.assert_array_equal(points.rows["data"], np.concatenate([z, z[:, :1]], axis=1))


@pytest.mark.slow
def test_nan_residuals_do_not_attract_all_points(decay):
    hole = kd.Term(kd.box((0,), (1,)), lambda u, z, c: jnp.where(z > 0.9, jnp.nan, 1.0), count=50)
    target = kd.objective(decay, terms={"hole": hole})
    params = kd.init_params(decay, target.network, jax.random.key(0))
    sampling = kd.Sampling(every=1, adaptive=("hole",))
    points = renew(target, sampling, params, jax.random.key(1), draw_evenly(target, sampling, KEY), jnp.asarray(1))
    assert len(np.unique(np.asarray(points.rows["hole"]))) == 50


def test_invalid_arguments(decay, unchecked):
    with pytest.raises(ValueError, match="lower has 2 numbers and upper 1"):
        kd.box((0, 0), (1,))
    with pytest.raises(ValueError, match="expected one per axis in each"):
        kd.box((), ())
    with pytest.raises(ValueError, match=r"must not exceed.*swap the ends"):
        kd.box((0, 1), (1, 0))
    with pytest.raises(ValueError, match="must be finite numbers, one per axis"):
        kd.box((0,), (float("nan"),))
    with pytest.raises(ValueError, match="'halton' is unknown; use one of uniform, latin_hypercube, sobol"):
        kd.box((0,), (1,), "halton")
    with pytest.raises(ValueError, match="every=-1"):
        kd.Sampling(every=-1)
    with pytest.raises(ValueError, match="candidates=0 must be at least 1"):
        kd.Sampling(candidates=0)
    with pytest.raises(ValueError, match="replace=0 must be greater than 0 and at most 1"):
        kd.Sampling(replace=0)
    with pytest.raises(ValueError, match=r"share=1\.5"):
        kd.Sampling(share=1.5)
    target = kd.objective(decay)
    params = kd.init_params(decay, target.network, jax.random.key(0))
    stage = kd.Adam(1, sampling=kd.Sampling(every=1, adaptive=("residul",)))
    with pytest.raises(ValueError, match="'residul' is unknown; did you mean 'residual'"):
        kd.fit(target, params, jax.random.key(0), (stage,))


def test_many_dimensions():
    """Up to SciPy's limit each axis is balanced; beyond it the error names the other designs."""
    z = np.asarray(kd.box((0,) * 100, (1,) * 100)(jax.random.key(0), 64))
    assert (np.sort((z * 64).astype(int), axis=0) == np.arange(64)[:, None]).all()
    assert kd.box((0,) * 21201, (1,) * 21201)(jax.random.key(0), 2).shape == (2, 21201)
    with pytest.raises(ValueError, match="design='sobol' has at most 21201 axes, and the box has 21202"):
        kd.box((0,) * 21202, (1,) * 21202)


def test_many_faces():
    """Each of 40 faces has its share of the points, which are even along the other axes."""
    z = np.asarray(kd.faces((0,) * 20, (2,) * 20, axes=range(20))(jax.random.key(0), 400))
    on_face = np.stack([z == 0, z == 2], axis=-1).reshape(400, 40)
    np.testing.assert_array_equal(on_face.sum(axis=0), 10)
    np.testing.assert_array_equal(on_face.sum(axis=1), 1)


def test_restrict():
    """The points of a disc are as even as those of its square, and each of two faces keeps its share."""
    in_disc = lambda z: z[0] ** 2 + z[1] ** 2 < 1
    sample = kd.restrict(kd.box((-1, -1), (1, 1)), in_disc)
    z = np.asarray(jax.jit(sample, static_argnums=1)(jax.random.key(1), 2000))
    assert z.shape == (2000, 2)
    assert (z**2).sum(axis=1).max() < 1
    assert np.mean(z**2) == pytest.approx(0.25, rel=0.02)
    assert len(np.unique(z, axis=0)) == 2000
    sides = kd.restrict(kd.faces((-1, -1), (1, 1), axes=(0,)), lambda z: z[1] > 0.5)
    z = np.asarray(sides(jax.random.key(0), 100))
    assert z[:, 1].min() > 0.5
    assert (z[:, 0] == 1).sum() == pytest.approx(50, abs=5)
    with pytest.raises(ValueError, match=r"inside holds at 0\.00% of 4096 points"):
        kd.restrict(kd.box((-1, -1), (1, 1)), lambda z: z[0] > 2)
    with pytest.raises(ValueError, match="restrict: inside returns shape"):
        kd.restrict(kd.box((-1, -1), (1, 1)), lambda z: z > 0)
