"""Settings and fixtures of all tests: float64, no silent broadcasting, and tiny problems with exact solutions.

The library is imported only within fixtures, because this file is read before the hook that checks its array types is
installed.
"""

import importlib
import os
import pkgutil
import tempfile
from pathlib import Path

import beartype
import hypothesis
import jax
import jax.numpy as jnp
import jaxtyping
import pytest
from hypothesis.configuration import set_hypothesis_home_dir

# The type checker named in pyproject.toml follows PEP 484: an int is accepted where a float is expected.
beartype.beartype = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 4)  # for the tests of training on several devices
jax.config.update("jax_numpy_rank_promotion", "raise")

# The examples are the same in every run, so that a failure can be reproduced. There is no deadline, because the first
# example of a test may have to compile.
hypothesis.settings.register_profile(
    "kdpinn", deadline=None, derandomize=True, database=None, max_examples=25, print_blob=False
)
hypothesis.settings.load_profile("kdpinn")
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / f"kdpinn-jax-hypothesis-{os.getuid()}")


def pytest_collection_modifyitems(items):
    """Mark every test that uses the folder of a complete run as slow."""
    for item in items:
        if "folder" in item.fixturenames:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def all_modules_imported():
    """Import all modules first: a module imported while a test replaces a name would keep the replacement."""
    import kdpinn_jax

    for module in pkgutil.walk_packages(kdpinn_jax.__path__, "kdpinn_jax."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


@pytest.fixture(scope="module", autouse=True)
def few_memory_maps():
    """A compiled program takes several memory maps, of which Linux allows 65,530; XLA crashes without one."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > 15_000:
        jax.clear_caches()


@pytest.fixture(scope="module", autouse=True)
def no_problems_counted(all_modules_imported):
    """The hint about many problems of one name counts those of one module, whatever ran before in the process."""
    from kdpinn_jax.training import recompilation

    recompilation._trained.clear()


@pytest.fixture
def float32():
    """JAX's default precision, float32."""
    with jax.enable_x64(False):
        yield


@pytest.fixture
def unchecked():
    """Calls without the type checker, so that they reach the library's own errors."""
    disabled = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", disabled)


@pytest.fixture(scope="session")
def decay():
    """u' = −k u, u(0) = 1 on t ∈ [0, 1]; u = e^{−kt}. It has one input, so that it compiles quickly."""
    import kdpinn_jax as kd

    def residual(u, z, c):
        return kd.derivative(u, 0)(z) + c["k"] * u(z)

    return kd.Problem(
        name="decay",
        axes=("t",),
        fields=("u",),
        lower=(0.0,),
        upper=(1.0,),
        terms={
            "residual": kd.Term(kd.box((0,), (1,)), residual, count=32),
            "initial": kd.Term(kd.box((0,), (0,)), kd.dirichlet(1.0), count=1),
        },
        coefficients={"k": 1.0},
        weights={"initial": 1.0},
        reference=lambda c: lambda z: jnp.exp(-c["k"] * z),
        teacher=kd.MLP((6,)),
        student=kd.MLP((4,)),
    )


@pytest.fixture(scope="session")
def heat():
    """uₜ = α uₓₓ on [0, 1]², u(0, x) = sin πx, u(t, 0) = u(t, 1) = 0; u = e^{−απ²t} sin πx."""
    import kdpinn_jax as kd

    def residual(u, z, c):
        return kd.derivative(u, 0)(z) - c["alpha"] * kd.two_derivatives(u, z, 1)[2]

    def initial(z, c):
        return jnp.sin(jnp.pi * z[1:])

    def reference(c):
        return lambda z: jnp.exp(-c["alpha"] * jnp.pi**2 * z[:1]) * jnp.sin(jnp.pi * z[1:])

    return kd.Problem(
        name="heat",
        axes=("t", "x"),
        fields=("u",),
        lower=(0.0, 0.0),
        upper=(1.0, 1.0),
        terms={
            "residual": kd.Term(kd.box((0, 0), (1, 1)), residual, count=256),
            "initial": kd.Term(kd.box((0, 0), (0, 1)), kd.dirichlet(initial), count=64),
            "boundary": kd.Term(kd.faces((0, 0), (1, 1), axes=(1,)), kd.dirichlet(0.0), count=64),
        },
        coefficients={"alpha": 0.1},
        weights={"initial": 10.0, "boundary": 10.0},
        reference=reference,
        teacher=kd.MLP((16, 16)),
        student=kd.MLP((8, 8)),
    )


@pytest.fixture(scope="session")
def untrained():
    """``(problem, seed, network) -> Model`` with random parameters, including the biases."""
    import kdpinn_jax as kd

    def make(problem, seed=0, network=None):
        target = kd.objective(problem, network)
        params = kd.init_params(problem, target.network, jax.random.key(seed))
        leaves, tree = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.key(seed + 1000), len(leaves))
        leaves = [
            leaf + 0.3 * jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)
        ]
        return kd.Model(problem, target.network, jax.tree.unflatten(tree, leaves), target.coefficients)

    return make
