"""Domains: what they contain, and points of their interior and boundary, which are uniform and exact."""

import functools
import pickle

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.stats import chi2

import kdpinn_jax as kd

g = kd.geometry
KEY = jax.random.key(0)
N = 4000

SQUARE = g.rectangle((0, 0), (1, 1))
CUBE = g.box((0, 0, 0), (1, 1, 1))
STAR = g.polygon([(0, 0), (1, 0), (1, 1), (0.5, 0.2), (0, 1)], [[(0.1, 0.1), (0.3, 0.1), (0.2, 0.2)]])
DOMAINS = {
    "rectangle": (SQUARE, 1.0, 4.0),
    "disc": (g.disc((1, 2), 0.5), np.pi / 4, np.pi),
    "ellipse": (g.ellipse((0, 0), (2, 1)), 2 * np.pi, 9.688448220547675),
    "turned ellipse": (g.ellipse((3, 0), (2, 1)).rotated(0.7, about=(1, 1)), 2 * np.pi, 9.688448220547675),
    "polygon": (STAR, 0.6 - 0.01, 3 + 2 * np.hypot(0.5, 0.8) + 0.2 + 2 * np.hypot(0.1, 0.1)),
    "square without a disc": (SQUARE - g.disc((0.5, 0.5), 0.25), 1 - np.pi / 16, 4 + np.pi / 2),
    "L": (g.rectangle((0, 0), (4, 2)) - g.rectangle((0, 1), (2, 2), name="step"), 6.0, 12.0),
    "two touching squares": (SQUARE | g.rectangle((1, 0), (2, 1)), 2.0, 6.0),
    "half a disc": (g.disc((0, 0), 1) & g.rectangle((0, -2), (2, 2)), np.pi / 2, np.pi + 2),
    "ball": (g.ball((0, 1, 0), 2), 32 / 3 * np.pi, 16 * np.pi),
    "turned cylinder": (g.cylinder((0, 0, 0), 1, 2).rotated(1.0, axis=(1, 2, 3)), 2 * np.pi, 6 * np.pi),
    "box without a ball": (CUBE - g.ball((0.5, 0.5, 0.5), 0.3), 1 - 0.036 * np.pi, 6 + 0.36 * np.pi),
    "ball in 5 dimensions": (g.ball((0,) * 5, 1), 8 / 15 * np.pi**2, 8 / 3 * np.pi**2),
    "interval": (g.interval(-1, 3), 4.0, 2.0),
}  # fmt: skip


def draw(sampler, n=N, key=KEY):
    return np.asarray(jax.jit(sampler, static_argnums=1)(key, n))


@functools.cache
def samples(name):
    """Points of the interior, and rows (z, n) of the boundary."""
    domain = DOMAINS[name][0]
    return draw(domain.interior(), 20_000), draw(domain.boundary(normals=True), 20_000)


@pytest.mark.slow
@pytest.mark.parametrize("name", DOMAINS)
def test_the_points_lie_where_they_should(name):
    """Interior points have a negative level; those of the boundary have the level 0, and the normal points outwards."""
    domain, volume, _ = DOMAINS[name]
    level, d = jax.jit(jax.vmap(domain.level)), domain.dimension
    z, rows = samples(name)
    assert np.all(level(z) <= 0)
    x, normal = rows[:, :d], rows[:, d:]
    np.testing.assert_allclose(level(x), 0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, rtol=1e-12)
    assert np.all(level(x + 1e-6 * normal) > 0)
    assert np.all(level(x - 1e-6 * normal) < 0)
    # The box that contains the domain has the fraction of its volume that the predicate accepts.
    lower, upper = np.asarray(domain.lower), np.asarray(domain.upper)
    assert np.all((z >= lower) & (z <= upper))
    candidates = np.random.default_rng(0).uniform(lower, upper, (20_000, d))
    share = np.mean(level(candidates) <= 0)
    assert share * np.prod(upper - lower) == pytest.approx(volume, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", DOMAINS)
def test_gauss_theorem(name):
    """∫ f · n over the boundary is ∫ ∇ · f, for f = x and f = x cos x₁: points and normals are right and uniform."""
    domain, volume, area = DOMAINS[name]
    d, (z, rows) = domain.dimension, samples(name)
    x, normal = rows[:, :d], rows[:, d:]
    flux = np.sum((x - np.array(domain.lower)) * normal, axis=1)
    assert area * np.mean(flux) == pytest.approx(d * volume, rel=0.01)
    divergence = area * np.mean(np.sum(x * np.cos(x[:, :1]) * normal, axis=1))
    integral = volume * np.mean(d * np.cos(z[:, 0]) - z[:, 0] * np.sin(z[:, 0]))
    assert divergence == pytest.approx(integral, abs=0.02 * area * np.abs(x).max())


def chi_square(cells, number):
    """The statistic of points in a number of cells with equal probabilities."""
    counts = np.bincount(cells, minlength=number)
    return np.sum((counts - len(cells) / number) ** 2 / (len(cells) / number))


def arc(z):
    """The cell of a point on the ellipse x²/4 + y² = 1, in 20 of equal length."""
    angle = np.linspace(0, 2 * np.pi, 100_001)
    curve = np.stack([2 * np.cos(angle), np.sin(angle)], axis=1)
    length = np.append(0, np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1)))
    own = np.interp(np.arctan2(z[:, 1], z[:, 0] / 2) % (2 * np.pi), angle, length / length[-1])
    return np.minimum((20 * own).astype(int), 19)


#: Cells of equal length or area on the boundary: slices of equal height of a sphere have equal areas (Archimedes).
CELLS = {
    "ellipse": (arc, 20),
    "ball": (lambda z: np.minimum((5 * (z[:, 2] + 2)).astype(int), 19), 20),
}


@pytest.mark.slow
@pytest.mark.parametrize("design", ["uniform", "sobol"])
@pytest.mark.parametrize("name", ["ellipse", "turned cylinder", "polygon", "L", "box without a ball", "ball"])
def test_chi_square(name, design):
    """Independent points in cells of equal measure follow its distribution, and Sobol points are more even."""
    domain = DOMAINS[name][0]
    limit = lambda number: chi2.ppf(0.9999 if design == "uniform" else 0.5, number - 1)
    candidates = np.random.default_rng(0).uniform(domain.lower, domain.upper, (400_000, domain.dimension))
    inside = candidates[np.asarray(jax.jit(jax.vmap(domain.level))(candidates)) <= 0] @ np.arange(
        1.0, 1 + domain.dimension
    )
    edges = np.quantile(inside, np.linspace(0, 1, 21)[1:-1])
    z = draw(domain.interior(design)) @ np.arange(1.0, 1 + domain.dimension)
    assert chi_square(np.searchsorted(edges, z), 20) < limit(20)
    if name in CELLS:
        cell, number = CELLS[name]
        assert chi_square(cell(draw(domain.boundary(design=design))), number) < limit(number)


@pytest.mark.slow
def test_shapes_have_exact_measures_by_part():
    """Each side of the L, and each of the discs, has its share of the points."""
    domain = DOMAINS["L"][0]
    rows = draw(domain.boundary(normals=True), 12_000)
    for normal, length in {(1, 0): 2, (-1, 0): 2, (0, 1): 4, (0, -1): 4}.items():
        assert np.sum(np.all(rows[:, 2:] == normal, axis=1)) == pytest.approx(1000 * length, abs=10)
    step = draw(domain.boundary("step"), 300)
    assert np.all((step[:, 0] == 2) | (step[:, 1] == 1))
    left = draw(domain.boundary("rectangle.left"), 300)
    assert np.all(left[:, 0] == 0)
    assert left[:, 1].max() <= 1
    outlet = draw(domain.boundary(where=lambda z: z[0] > 3.999), 50)
    assert np.all(outlet[:, 0] > 3.999)


def test_time_is_the_first_coordinate():
    domain = g.disc((0, 0), 1).over(2, 5)
    z = draw(domain.interior())
    assert z[:, 0].min() >= 2
    assert z[:, 0].max() <= 5
    assert np.corrcoef(z.T)[0, 1:] == pytest.approx(0, abs=0.05)
    assert np.all(draw(domain.initial())[:, 0] == 2)
    rows = draw(domain.boundary(normals=True))
    np.testing.assert_allclose(rows[:, 1:3], rows[:, 4:], rtol=1e-12)
    assert np.all(rows[:, 3] == 0)
    assert domain.lower == (2, -1, -1)
    assert domain(jnp.array([0.0, 0.5, 0.5]))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1, 1)] * 3, st.sampled_from("|-&")), max_size=4), st.floats(-3, 3))
def test_set_operations_are_those_of_the_predicates(discs, angle):
    z = np.random.default_rng(0).uniform(-2, 2, (200, 2))
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    domain, expected = g.rectangle((-1, -1), (1, 1)), np.max(np.abs(z), axis=1) <= 1
    for x, y, r, operation in discs:
        disc, inside = g.disc((x, y), abs(r) + 0.1), np.hypot(z[:, 0] - x, z[:, 1] - y) <= abs(r) + 0.1
        domain = {"|": domain.__or__, "-": domain.__sub__, "&": domain.__and__}[operation](disc)
        expected = {"|": expected | inside, "-": expected & ~inside, "&": expected & inside}[operation]
    np.testing.assert_array_equal(jax.vmap(domain)(z), expected)
    moved = domain.rotated(angle).translated((3, 4))
    np.testing.assert_array_equal(jax.vmap(moved)(z @ turned.T + np.array([3, 4])), expected)


@pytest.mark.slow
def test_a_domain_is_a_value():
    domain = DOMAINS["square without a disc"][0]
    copy = pickle.loads(pickle.dumps(domain))
    assert copy == domain
    assert hash(copy) == hash(domain)
    assert copy.boundary("disc") == domain.boundary("disc")
    assert domain.parts[0] == "rectangle"
    keys = jax.random.split(KEY, 3)
    assert jax.vmap(lambda key: domain.interior()(key, 16))(keys).shape == (3, 16, 2)
    with jax.enable_x64(False):
        rows = draw(domain.boundary(normals=True), 500, jax.random.key(0))
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows[:, 2:], axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: g.disc((0, 0), 0), r"geometry.ball: radius=0 must be a positive number"),
        (lambda: g.disc((0, 0, 0), 1), r"geometry.disc: centre=\(0, 0, 0\) must be 2 finite numbers"),
        (lambda: g.rectangle((0, 0), (0, 1)), r"lower=\(0.0, 0.0\) must be less than upper=\(0.0, 1.0\) on every axis"),
        (lambda: g.polygon([(0, 0), (1, 1), (1, 0), (0, 1)]), r"geometry.polygon: Self-intersection near \(0.5 0.5\)"),
        (lambda: g.polygon([(0, 0), (1, 1)]), r"corners has shape \(2, 2\); expected \(n, 2\), at least three"),
        (lambda: SQUARE - g.ball((0, 0, 0), 1), r"a domain in 2 dimensions and one in 3 cannot be combined"),
        (lambda: SQUARE | 1, "1 is no domain"),
        (lambda: SQUARE.boundary("disk"), "part 'disk' is unknown.*Known: rectangle, rectangle.left"),
        (lambda: (SQUARE - g.disc((0, 0), 9)).interior(), "the domain is empty"),
        (lambda: (SQUARE - g.disc((5, 0), 1)).boundary("disc"), "part 'disc' of the boundary has no points"),
        (lambda: SQUARE.boundary(where=lambda z: z[0] > 3), "'where' holds nowhere on it"),
        (lambda: SQUARE.over(1, 1), r"start=1 must be less than end=1"),
        (lambda: SQUARE.translated((1, 2, 3)), r"shift=\(1, 2, 3\) must be 2 finite numbers"),
        (lambda: g.interval(0, 1).rotated(1.0), "the domain has 1 dimensions; expected 2 or 3"),
    ],
)
def test_invalid_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_unknown_design(unchecked):
    with pytest.raises(ValueError, match=r"geometry\.interior: design='halton' is unknown; use one of uniform"):
        SQUARE.interior("halton")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "shapely", None)
    with pytest.raises(ImportError, match=r"geometry.polygon requires shapely: pip install 'kdpinn-jax\[geometry\]'"):
        g.polygon([(0, 0), (1, 0), (0, 1)])
