"""Primitives that a program does not contain are expressed by others, or refused with the place that they come from."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive
from jax.interpreters import mlir

from kdpinn_jax.serving import xla
from kdpinn_jax.serving.trace import UnsupportedPrimitive, trace

special = jax.scipy.special
#: Functions of z (3,) that JAX expresses by primitives of its own, by bits, by integers or by branches.
FUNCTIONS = {
    "add to an item": lambda z: z.at[1].add(z[0]).at[jnp.array([2, 2])].multiply(z[:2]),
    "all, any": lambda z: jnp.where(jnp.any(z > 0.5) & jnp.all(z < 1.5), z, -z),
    "batched product": lambda z: jnp.einsum("bi,bij->bj", jnp.outer(z, z), jnp.stack([jnp.outer(z, z)] * 3)),
    "branches": lambda z: jax.lax.cond(z[0] > 0.5, jnp.sin, jnp.cos, z),
    "conditions of conditions": lambda z: jnp.where(jnp.where(z > 0, z > 1, z > -1), 1.0, z),
    "copysign": lambda z: jnp.copysign(z, 0.3 - z[::-1]),
    "cumulative": lambda z: jnp.cumsum(z) + jnp.cumprod(z) + jax.lax.cummax(z),
    "determinant": lambda z: jnp.linalg.det(jnp.outer(z, z)[:2, :2] + jnp.eye(2)),
    "erfc and its derivative": lambda z: jax.jvp(special.erfc, (z,), (z,))[1] + special.ndtr(z),
    "finite": lambda z: jnp.where(jnp.isfinite(z), z, 0.0) + jnp.where(jnp.isnan(z), 1.0, 0.0),
    "floor division": lambda z: jnp.floor_divide(z, 0.3),
    "integers": lambda z: jnp.floor(3 * z).astype(int) * 0.5 + jnp.sum(z > 0.2) + z.astype(int),
    "item set": lambda z: z.at[0].set(1.0).at[1:].set(z[0]),
    "largest": lambda z: jnp.argmax(z) * z,
    "log2": lambda z: jnp.log2(2 + z),
    "modulo": lambda z: jnp.mod(3 * z, 0.7) + jnp.remainder(-z, 0.4) + jnp.fmod(z, 0.4),
    "piecewise": lambda z: jnp.piecewise(z, [z < 0.5, z >= 0.5], [lambda x: x, lambda x: -x]),
    "polynomial": lambda z: jnp.polyval(jnp.array([1.0, -2.0, 3.0]), z),
    "print": lambda z: (jax.debug.callback(lambda _: None, z), z)[1],
    "select": lambda z: jnp.select([z > 0.5, z < 0.2], [z, 2 * z]),
    "sign bit": lambda z: jnp.where(jnp.signbit(z - 0.5), z, 2 * z),
    "sinc": lambda z: jnp.sinc(z) + jax.jvp(jnp.sinc, (z,), (z,))[1],
    "switch": lambda z: jax.lax.switch(jnp.sum(z[:2] > 0.5), [jnp.sin, jnp.cos, jnp.exp], z),
    "take": lambda z: jnp.nan_to_num(jnp.take(z, jnp.array([5, 2, 0])), nan=7.0),
    "tanh and its second derivative": jax.hessian(lambda z: jnp.sum(jnp.tanh(z) ** 3) * z[0]),
    "tile": lambda z: jnp.tile(z, 2) + jnp.repeat(z, 2),
    "unpacked": lambda z: jnp.stack(operator.itemgetter(2, 0)([*z])),
}


def all_functions(z):
    return jnp.concatenate([jnp.ravel(jnp.asarray(function(z), float)) for function in FUNCTIONS.values()])


def values(function, z):
    program = trace(function, z.shape[1])
    return np.asarray(jax.jit(lambda z: xla.run(program, z))(jnp.asarray(z)))


@pytest.mark.slow
def test_functions_of_jax():
    z = np.random.default_rng(0).uniform(-1, 2, (20, 3))
    exact = np.asarray(jax.jit(jax.vmap(all_functions))(z))
    computed, column = values(all_functions, z), 0
    for name, function in FUNCTIONS.items():
        part = slice(column, column + jax.eval_shape(function, jnp.asarray(z[0])).size)
        np.testing.assert_allclose(computed[:, part], exact[:, part], rtol=1e-12, atol=1e-12, err_msg=name)
        column = part.stop


def test_the_sign_of_zero():
    z = np.array([[0.0], [-0.0], [-np.inf], [np.inf], [-1e-310], [2.0]])
    function = lambda z: jnp.copysign(3.0, z)
    np.testing.assert_array_equal(values(function, z), jax.vmap(function)(jnp.asarray(z)))


@pytest.fixture
def cube():
    """A primitive that this library does not know, as a later version of JAX may introduce one: x³."""
    primitive = Primitive("cube_of_tomorrow")
    primitive.def_abstract_eval(lambda x: x)
    primitive.def_impl(lambda x: x**3)
    mlir.register_lowering(primitive, mlir.lower_fun(lambda x: x * (x + 0.0) * x, multiple_results=False))
    return primitive


def test_an_unknown_primitive_is_expressed_by_its_lowering(cube):
    z = np.random.default_rng(0).uniform(-1, 2, (5, 3))
    computed = values(lambda z: jnp.sum(cube.bind(z)) + cube.bind(z[0]), z)
    np.testing.assert_allclose(computed[:, 0], (z**3).sum(axis=1) + z[:, 0] ** 3, rtol=1e-14)


def my_ansatz(z):
    return jax.lax.while_loop(lambda x: x[0] < 3, lambda x: 2 * x, 1 + jnp.abs(z))


@pytest.mark.parametrize("function", [my_ansatz, jax.jit(my_ansatz), lambda z: jnp.sum(my_ansatz(jnp.sin(z)))])
def test_a_refusal_names_the_function_of_the_user(function):
    with pytest.raises(UnsupportedPrimitive, match=r"primitive 'while' .*, in my_ansatz \(test_trace.py, line \d+\)"):
        trace(function, 2)


def test_a_refusal_does_not_name_the_user_if_jax_is_the_origin():
    with pytest.raises(UnsupportedPrimitive, match=r"'lgamma' .* comes from JAX .* not from an embedding or ansatz"):
        trace(special.gammaln, 2)


@pytest.mark.parametrize(
    "function",
    [
        lambda z: z[jnp.argmax(z)],
        lambda z: jnp.take(z, jnp.floor(z).astype(int)),
        lambda z: jax.lax.bitcast_convert_type(jax.lax.bitcast_convert_type(z, np.int64) & -1024, np.float64),
        lambda z: jnp.sort(z),
        lambda z: jax.pure_callback(np.sin, jax.ShapeDtypeStruct(z.shape, z.dtype), z),
    ],
    ids=["index", "indices", "cleared bits", "sort", "callback"],
)
def test_what_a_program_cannot_express_is_refused(function):
    with pytest.raises(UnsupportedPrimitive, match=r"in <lambda> \(test_trace.py"):
        trace(function, 3)
