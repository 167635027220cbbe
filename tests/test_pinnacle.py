"""The cases of the public benchmark: their references solve them, and the page shows the stored results."""

import importlib
import re
import sys
from argparse import Namespace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks" / "pinnacle"))
benchmark = importlib.import_module("pinnacle.__main__")


@pytest.mark.slow
@pytest.mark.parametrize("case", ["burgers1d", "heat2d_ms", "wave1d", "poisson_nd", "heat_nd"])
def test_closed_forms_satisfy_every_term(case):
    problem = importlib.import_module(case).problem
    u = problem.reference(problem.coefficients)
    for name, term in problem.terms.items():
        rows = term.sample(jax.random.key(0), 64)
        residuals = jax.jit(jax.vmap(lambda row, term=term: term.residual(u, row, {})))(rows)
        wrong = jax.jit(jax.vmap(lambda row, term=term: term.residual(lambda z: u(z) + 0.1 + z[-1] ** 2, row, {})))(
            rows
        )
        scale = float(jnp.max(jnp.abs(wrong)))
        assert float(jnp.max(jnp.abs(residuals))) < 1e-9 * max(scale, 1), name
        if name != "initial_velocity":  # the change does not depend on time
            assert scale > 1e-3, name


@pytest.mark.slow
@pytest.mark.parametrize(("case", "misfit"), [("poisson2d_c", 1e-9), ("poisson2d_cg", 1e-6)])
def test_series_satisfy_the_equation_and_the_boundary_values(case, misfit):
    module = importlib.import_module(case)
    assert module.reference().misfit < misfit
    z = np.asarray(module.DOMAIN.interior()(jax.random.key(1), 200))
    z, h = z[np.asarray(jax.vmap(module.DOMAIN.level)(z)) < -1e-2], 1e-3
    steps = [h * np.array(step) for step in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    values, around = module.values(z), [module.values(z + step) for step in steps]
    laplacian = (sum(around) - 4 * values) / h**2
    zero = module.residual(lambda z: jnp.zeros(1), jnp.zeros(2), {}).shape
    source = np.stack([np.asarray(module.residual(lambda z: jnp.zeros(1), jnp.asarray(row), {})) for row in z])
    rate = 64.0 if case == "poisson2d_cg" else 0.0
    assert zero == (1,)
    np.testing.assert_allclose(laplacian - rate * values + source, 0, atol=2e-2)


def test_the_page_shows_the_stored_results():
    shown = dict(
        re.findall(r"<!-- table: (.*?) -->\n(.*?)\n<!-- end of table -->", benchmark.PAGE.read_text(), re.DOTALL)
    )
    options = {"seeds": [0], "seconds": 60.0, "layers": (20, 20, 20), "table_only": True}
    found = {
        case: [benchmark.results(Namespace(**options), case, kind) for kind in ("equal", "balanced")]
        for case in benchmark.PUBLISHED
    }
    rows = {"pinnacle": [benchmark.row(case, pair[1]) for case, pair in found.items()]}
    rows["weights"] = [benchmark.weights_row(case, *pair) for case, pair in found.items()]
    heads = {"pinnacle": benchmark.HEAD, "weights": benchmark.HEAD_OF_WEIGHTS}
    assert shown == {name: benchmark.markdown(heads[name], lines) for name, lines in rows.items()}
