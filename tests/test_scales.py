"""Units: a problem in other units gives a warning, and with the suggested scale it trains like its twin."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdpinn_jax as kd
from kdpinn_jax.training.scales import term_scales

pytestmark = pytest.mark.slow  # most of them train or trace a problem of their own

KEY = jax.random.key(0)
STAGES = (kd.LevenbergMarquardt(60, sampling=kd.Sampling(every=10)),)


def poisson(height=1.0, length=1.0, offset=0.0):
    """−u'' = f on [0, L]; u = offset + height sin(πx/L)."""

    def exact(z):
        return offset + height * jnp.sin(jnp.pi * z / length)

    def residual(u, z, c):
        return kd.two_derivatives(u, z, 0)[2] + height * (jnp.pi / length) ** 2 * jnp.sin(jnp.pi * z / length)

    walls = kd.faces((0.0,), (length,), axes=(0,))
    return kd.Problem(
        name="poisson",
        axes=("x",),
        fields=("u",),
        lower=(0.0,),
        upper=(length,),
        terms={
            "residual": kd.Term(kd.box((0.0,), (length,)), residual, count=64),
            "boundary": kd.Term(walls, kd.dirichlet(lambda z, c: exact(z)), count=2),
        },
        reference=lambda c: exact,
        teacher=kd.MLP((8, 8)),
    )


def train(problem, **options):
    """Training with equal weights, which the scales decide on."""
    options = {"stages": STAGES, "weights": {"residual": 1.0, "boundary": 1.0}} | options
    options["weights"] = {name: weight for name, weight in options["weights"].items() if name in problem.terms}
    return kd.train_teacher(problem, KEY, progress=False, **options)


@pytest.mark.parametrize("name", kd.problems.ALL)
def test_the_shipped_problems_have_suitable_units(name):
    """The warning, which is an error in tests, does not appear."""
    problem = kd.problems.ALL[name]
    for conditions in ("soft", problem.conditions):
        scales = term_scales(kd.objective(kd.with_conditions(problem, conditions)))
        for scale in scales.values():
            assert scale.prescribed < 5 * scale.unit
            assert 0.1 < scale.unit < 10


def test_scales():
    """u = value has its values and 1; −u'' has the source and the scale 1/L²."""
    scales = term_scales(kd.objective(poisson(height=3.0, length=10.0, offset=7.0)))
    boundary, residual = scales["boundary"], scales["residual"]
    assert boundary.condition
    assert not residual.condition
    np.testing.assert_allclose((*boundary[:2], boundary.mean[0], boundary.spread[0]), (7, 1, 7, 0), atol=1e-12)
    assert residual.prescribed == pytest.approx(3 * np.pi**2 / 100 / np.sqrt(2), rel=1e-3)
    assert residual.unit == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (
            poisson(offset=1e3),
            r"'boundary' prescribes 1.0e\+03 .* ansatz=lambda net, z, c: 1000 \+ 7 \* net\(z\); see",
        ),
        (poisson(height=1e6), r"'residual' prescribes 7.0e\+06 .* ansatz=lambda net, z, c: 1e\+07 \* net\(z\); see"),
        (poisson(length=1e7), r"'residual' is about 7e-14 of 'boundary' .* weights=\{'residual': 1e\+26\}; see"),
        (poisson(length=1e-3), r"'boundary' is about 1e-07 of 'residual' .* weights=\{'residual': 1e-14\}; see"),
    ],
)
def test_other_units_are_a_warning(problem, message):
    with pytest.warns(RuntimeWarning, match=message):
        train(problem, stages=(kd.Adam(1),))


def test_the_suggestion_for_values_in_a_range(heat):
    """293 K to 1000 K: the mean and the spread of what the conditions prescribe."""
    walls = kd.Term(heat.terms["boundary"].sample, kd.dirichlet(lambda z, c: 293.0 + 707.0 * z[1:]), count=64)
    warm = kd.Term(heat.terms["initial"].sample, kd.dirichlet(lambda z, c: 293.0 + 707.0 * z[1:]), count=64)
    problem = replace(heat, reference=None, terms=heat.terms | {"boundary": walls, "initial": warm})
    with pytest.warns(RuntimeWarning, match=r"ansatz=lambda net, z, c: 64\d\.\d \+ 300 \* net\(z\)"):
        train(problem, stages=(kd.Adam(1),))


def test_every_field_has_its_own_scale(decay):
    """A temperature and a concentration."""
    initial = kd.Term(decay.terms["initial"].sample, kd.dirichlet(lambda z, c: jnp.array([324.5, 0.875])), count=1)
    problem = replace(decay, fields=("T", "C"), reference=None, terms=decay.terms | {"initial": initial})
    with pytest.warns(
        RuntimeWarning, match=r"c: jnp.array\(\[324.5, 0.875\]\) \+ jnp.array\(\[[23]00, 0.9\]\) \* net\(z\)"
    ):
        train(problem, stages=(kd.Adam(1),))


def test_measured_values_have_units_too(decay):
    data = kd.data(np.array([[0.5]]), np.array([[1e5]]))
    with pytest.warns(RuntimeWarning, match="term 'data' prescribes 1.0e\\+05"):
        train(decay, terms={"data": data}, stages=(kd.Adam(1),))


@pytest.mark.slow
def test_with_the_suggested_scale_a_problem_trains_like_its_twin():
    twin = train(poisson()).training[-1]
    assert twin.relative_l2 < 1e-5
    scaled = {
        "height": (replace(poisson(height=1e6), ansatz=lambda net, z, c: 1e7 * net(z)), {}),
        "offset": (replace(poisson(offset=1e3), ansatz=lambda net, z, c: 1000 + 7 * net(z)), {}),
        "micrometres": (poisson(length=1e7), {"weights": {"residual": 1e26, "boundary": 1.0}}),
    }
    for problem, options in scaled.values():
        model = train(problem, **options)
        assert model.training[-1].relative_l2 < 1e-5
        assert kd.diagnose(model.training) == ()
