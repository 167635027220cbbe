"""Rates of multiply-adds, tanh and memory reads on this core, measured in C, and the limit they set to a network."""

import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...models.model import Model
from ..export.c import horner
from ..export.compiled import built
from ..xla import TANH_CLAMP, TANH_P, TANH_Q

_SOURCE = f"""
typedef float lanes __attribute__((vector_size(64)));
#ifdef __AVX512F__
enum {{ SUMS = 8, LANES = 16 }};
#else
enum {{ SUMS = 4, LANES = 16 }};
#endif

long multiply_adds(long rounds, float a, float *total)
{{
    lanes sum[SUMS], x = (lanes){{0}} + a;
    for (int j = 0; j < SUMS; j++) /* of equal sums a compiler would keep only one */
        sum[j] = (lanes){{0}} + a * (float)j;
    for (long i = 0; i < rounds; i++)
        for (int j = 0; j < SUMS; j++)
            sum[j] = sum[j] * x + x;
    for (int j = 0; j < SUMS; j++)
        for (int k = 0; k < LANES; k++)
            *total += sum[j][k];
    return rounds * SUMS * LANES;
}}

void tanhs(long rounds, float *x, long n)
{{
    for (long r = 0; r < rounds; r++)
        for (long i = 0; i < n; i++) {{
            const float b = x[i] < -{TANH_CLAMP}f ? -{TANH_CLAMP}f : x[i];
            const float c = b > {TANH_CLAMP}f ? {TANH_CLAMP}f : b, s = c * c;
            const float p = {horner(TANH_P)};
            const float q = {horner(TANH_Q)};
            x[i] = c * p / q;
        }}
}}

float read(const float *x, long n)
{{
    lanes sum[SUMS] = {{{{0}}}};
    float total = 0;
    for (long i = 0; i < n; i += SUMS * LANES)
        for (int j = 0; j < SUMS; j++)
            sum[j] += *(const lanes *)(x + i + j * LANES);
    for (int j = 0; j < SUMS; j++)
        total += sum[j][0];
    return total;
}}
"""
_DECLARATIONS = """
long multiply_adds(long, float, float *);
void tanhs(long, float *, long);
float read(const float *, long);
"""
#: The lengths of two arrays: one stays in the first-level cache, and one does not fit into any cache.
_SMALL, _LARGE = 2048, 1 << 25


class Rates(NamedTuple):
    """The best rates of one core in float32.

    Attributes:
        multiply_add: ns per multiply-add.
        tanh: ns per tanh, by the rational function of ``xla``.
        bandwidth: bytes read per ns.
    """

    multiply_add: float
    tanh: float
    bandwidth: float


class Work(NamedTuple):
    """The operations of a network per point.

    Attributes:
        multiply_adds: those of all layers.
        tanhs: values of tanh; a SiLU takes one as well.
    """

    multiply_adds: int
    tanhs: int

    def limit(self, rates: Rates) -> float:
        """The least time that this core needs, in ns per point, without embedding and ansatz."""
        return self.multiply_adds * rates.multiply_add + self.tanhs * rates.tanh


def work(model: Model) -> Work:
    """The operations of one evaluation of the model's network."""
    return Work(sum(a * b for a, b in itertools.pairwise(model.layers)), sum(model.network.hidden))


def measure_rates(repeats: int = 30) -> Rates:
    """Measure the rates of this core, each as the best of several short measurements.

    Args:
        repeats: the number of measurements.

    Raises:
        ImportError: cffi is not installed.
        RuntimeError: no C compiler was found, or it failed.
    """
    try:
        from cffi import FFI
    except ImportError:
        raise ImportError("measure_rates needs cffi, which is not installed: pip install 'kdpinn-jax[c]'") from None
    ffi: Any = FFI()
    ffi.cdef(_DECLARATIONS)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rates.c"
        source.write_text(_SOURCE)
        library = built(ffi, source, ())
    # The vector type requires alignment to 64 bytes.
    memory = np.zeros(_LARGE + 16, np.float32)
    first = (-memory.ctypes.data % 64) // 4
    large = ffi.from_buffer("float[]", memory[first : first + _LARGE])
    small = ffi.from_buffer("float[]", np.linspace(-3, 3, _SMALL, dtype=np.float32))
    total = ffi.new("float *")
    adds = library.multiply_adds(1, 0.5, total) * 200_000
    return Rates(
        multiply_add=_least(lambda: library.multiply_adds(200_000, 0.5, total), repeats) / adds,
        tanh=_least(lambda: library.tanhs(50, small, _SMALL), repeats) / (50 * _SMALL),
        bandwidth=4 * _LARGE / _least(lambda: library.read(large, _LARGE), max(repeats // 6, 1)),
    )


def _least(call: Callable[[], object], repeats: int) -> float:
    """The time of the fastest of several calls, in ns."""
    least = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - start)
    return 1e9 * least
