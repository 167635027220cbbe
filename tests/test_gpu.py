"""Training and prediction on a CUDA GPU agree with the CPU; skipped if JAX finds no GPU."""

import jax
import numpy as np
import pytest

import kdpinn_jax as kd

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(jax.default_backend() != "gpu", reason="JAX finds no GPU (JAX_PLATFORMS=cuda to use one)"),
]
STAGES = (kd.Adam(20, 5e-3), kd.LevenbergMarquardt(10))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_training_and_prediction_agree_with_the_cpu(heat, precision):
    z = np.random.default_rng(0).uniform(size=(1000, 2)).astype(precision)
    predictions = {}
    with jax.enable_x64(precision == "float64"):
        for platform in ("cpu", "gpu"):
            with jax.default_device(jax.devices(platform)[0]):
                model = kd.train_teacher(heat, jax.random.key(0), stages=STAGES, progress=False, dtype=precision)
                assert [int(report.steps) for report in model.training] == [20, 10]
                predictions[platform] = np.asarray(kd.compile_predict(model, dtype=precision)(z))
                np.testing.assert_allclose(predictions[platform], model(z), atol=1e-5)
    # The order of summation differs, and thirty steps amplify its rounding errors.
    np.testing.assert_allclose(predictions["cpu"], predictions["gpu"], atol=1e-6 if precision == "float64" else 5e-2)
