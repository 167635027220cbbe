"""What this core can do: multiply-adds, tanh and memory traffic, each measured by a few lines of C; and the limit they
set to a network."""

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
    for (int j = 0; j < SUMS; j++) /* all different, or a compiler keeps one for all */
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
_DECLARED = """
long multiply_adds(long, float, float *);
void tanhs(long, float *, long);
float read(const float *, long);
"""
#: Numbers of the arrays: one that stays in the first cache, one that does not fit any.
_SMALL, _LARGE = 2048, 1 << 25


class Rates(NamedTuple):
    """ns of a float32 multiply-add and of a tanh by the rational function in use, at their best; bytes read a ns."""

    multiply_add: float
    tanh: float
    bandwidth: float


class Work(NamedTuple):
    """What a network does at a point: the layers' multiply-adds, and values of tanh (a SiLU takes one as well)."""

    multiply_adds: int
    tanhs: int

    def limit(self, rates: Rates) -> float:
        """The least ns a point that this core needs for it; what embedding and ansatz add is not counted."""
        return self.multiply_adds * rates.multiply_add + self.tanhs * rates.tanh


def work(model: Model) -> Work:
    """Of the network alone, evaluated once."""
    return Work(sum(a * b for a, b in itertools.pairwise(model.layers)), sum(model.network.hidden))


def measure_rates(repeats: int = 30) -> Rates:
    """The best of several short measurements.

    Raises:
        ImportError, RuntimeError: cffi or a C compiler is missing.
    """
    try:
        from cffi import FFI
    except ImportError:
        raise ImportError("the core's limit needs cffi, which is not installed: pip install 'kdpinn-jax[c]'") from None
    ffi: Any = FFI()
    ffi.cdef(_DECLARED)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rates.c"
        source.write_text(_SOURCE)
        library = built(ffi, source, ())
    # Aligned to 64 bytes, as the vectors ask.
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


def _least(call: Callable[[], Any], repeats: int) -> float:
    """ns of the fastest of several calls."""
    least = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - start)
    return 1e9 * least
