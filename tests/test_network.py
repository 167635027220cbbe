"""The network: its size, initial parameters, values and precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdpinn_jax as kd


@pytest.mark.parametrize(("hidden", "count"), [((50, 50, 50), 5301), ((20, 20, 20), 921)])
def test_parameter_count_of_the_networks_of_the_paper(hidden, count):
    """Widths (2, 50, 50, 50, 1): 2·50 + 50 + 2 (50² + 50) + 50 + 1 = 5301 parameters; (2, 20, 20, 20, 1): 921."""
    network = kd.MLP(hidden)
    params = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros(2))["params"]
    assert kd.count_parameters(params) == count
    assert network.layers(2) == (2, *hidden, 1)


def test_initial_weights_are_glorot_normal():
    """Variance 2/(inputs + outputs) and mean zero, both within four standard errors; the biases are zero."""
    params = kd.MLP((200, 100), outputs=50).init(jax.random.key(0), jnp.zeros(150))["params"]
    for layer, (inputs, outputs) in enumerate([(150, 200), (200, 100), (100, 50)]):
        kernel, bias = params[f"dense_{layer}"]["kernel"], params[f"dense_{layer}"]["bias"]
        variance, n = 2 / (inputs + outputs), inputs * outputs
        assert kernel.shape == (inputs, outputs)
        assert abs(np.var(kernel) / variance - 1) < 4 * np.sqrt(2 / n)
        assert abs(np.mean(kernel)) < 4 * np.sqrt(variance / n)
        np.testing.assert_array_equal(bias, 0)


@pytest.mark.parametrize(
    ("activation", "formula"), [("tanh", np.tanh), ("silu", lambda x: x / (1 + np.exp(-x))), ("sine", np.sin)]
)
def test_values_agree_with_numpy(activation, formula):
    network = kd.MLP((3, 2), activation)
    x = jnp.array([0.4, -1.3])
    params = network.init(jax.random.key(1), x)["params"]
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)
    h = np.asarray(x)
    for layer in range(3):
        h = h @ np.asarray(params[f"dense_{layer}"]["kernel"]) + np.asarray(params[f"dense_{layer}"]["bias"])
        h = formula(h) if layer < 2 else h
    np.testing.assert_allclose(network.apply({"params": params}, x), h, rtol=1e-12)


def test_precision_follows_the_jax_setting(heat):
    network = kd.MLP((3,))
    assert {leaf.dtype for leaf in jax.tree.leaves(kd.init_params(heat, network, jax.random.key(0)))} == {
        np.dtype(np.float64)
    }
    with jax.enable_x64(False):
        assert {leaf.dtype for leaf in jax.tree.leaves(kd.init_params(heat, network, jax.random.key(0)))} == {
            np.dtype(np.float32)
        }


def test_equal_networks_have_equal_hashes():
    assert kd.MLP((4, 4), "sine") == kd.MLP((4, 4), "sine")
    assert hash(kd.MLP((4, 4))) == hash(kd.MLP((4, 4)))
    assert kd.MLP((4, 4)) != kd.MLP((4, 5))


@pytest.mark.parametrize("hidden", [(), (0,), (3, -1), (2.5,), (True,)])
def test_hidden_errors(unchecked, hidden):
    with pytest.raises(ValueError, match=r"hidden=.*positive whole numbers, e\.g\. \(20, 20, 20\)"):
        kd.MLP(hidden)


def test_activation_error():
    with pytest.raises(ValueError, match="'tahn' is unknown; did you mean 'tanh'"):
        kd.MLP((3,), "tahn")


def test_list_of_hidden_widths_becomes_a_tuple(unchecked):
    assert kd.MLP([4, 4]) == kd.MLP((4, 4))
