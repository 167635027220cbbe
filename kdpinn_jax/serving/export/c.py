"""``export_c``: a model as a C99 header and source that depend only on libm."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from string import Template

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from ...base.names import one_line
from ...models.metrics import Metrics
from ...models.model import Model
from ...pde.problem import Problem
from ..predict import cast_anywhere, program_of
from ..trace import trace
from ..xla import TANH_CLAMP, TANH_P, TANH_Q
from ._c_functions import BLOCK, Constants, Function, number, wrapped
from ._describe import describe, identifier, write_all

#: The number of points of the self-test, and its tolerances in float and in double: relative L2 errors of the value and
#: of the Jacobian over these points.
TEST_POINTS, FLOAT, DOUBLE = 16, (2e-6, 1e-4), (1e-13, 1e-11)
#: Bytes for return addresses, saved registers and spilled vector registers, on machines without AVX and with it. They
#: are a third more than gcc 12 and clang 14 take for all problems and networks of up to 64 neurons, from -O0 to
#: -O3 -march=native (767 and 2184); tests/test_export_c.py measures them.
SPILLS = 1024, 3072
#: A remainder of a batch with at most this many points is evaluated point by point: one point takes a sixteenth of the
#: time of a block.
FEW = 12


def export_c(
    model: Model, directory: str | os.PathLike[str], *, name: str | None = None, metrics: Metrics | None = None
) -> tuple[Path, ...]:
    """Write ``NAME.h`` and ``NAME.c``: the model as C99, in float or (``-DNAME_DOUBLE``) double, without dependencies.

    The functions are ``NAME_eval`` (one point), ``NAME_eval_batch``, ``NAME_eval_jac`` (value and Jacobian) and
    ``NAME_in_domain``; they include embedding, scaling and ansatz. ``-DNAME_SELFTEST`` adds a ``main`` that compares
    them with the model and fails if they disagree. The same weights give the same bytes. If an error is raised, no file
    is written.

    Args:
        model: a model whose embedding and ansatz consist of arithmetic, elementary functions and ``jnp.where``.
        directory: the output folder; created if necessary.
        name: the prefix of every symbol and, in capitals, of every macro; default the problem's name.
        metrics: the errors from ``evaluate``, which the header states.

    Returns:
        The paths of header and source.

    Raises:
        UnsupportedPrimitive: the embedding or ansatz contains another operation, which the message names.
        ValueError: the name is not a C identifier.
        OSError: the folder cannot be written.
    """
    name = identifier(model, name)
    texts = source(model, name, metrics)
    return write_all(directory, {f"{name}.{kind}": text.encode() for kind, text in texts.items()})


def source(model: Model, name: str, metrics: Metrics | None = None) -> dict[str, str]:
    """The texts of the two files, ``{"h": …, "c": …}``."""
    problem, d, m = model.problem, len(model.problem.axes), len(model.problem.fields)
    constants = Constants(name)
    program = program_of(model)
    jacobian = trace(_value_and_jacobian(model, np.float64), d)
    point, block = (Function(program, constants, block=block) for block in (False, True))
    derivative = Function(jacobian, constants, block=False)
    inside = Function(trace(_inside(problem), d), constants, block=False)
    z, (u, jac), tolerances = _test_vectors(model)
    title, description = describe(model, metrics)
    listed = lambda values: wrapped([repr(float(x)) for x in values.reshape(-1)])
    names = {
        "p": name, "P": name.upper(), "d": d, "m": m, "size": d * m, "B": BLOCK,
        "spills": SPILLS[0], "vector_spills": SPILLS[1], "few": FEW, "title": _comment(title),
        "description": "\n".join(f"   {f'{k.capitalize()}:':14}{_comment(text)}" for k, text in description.items()),
        "compile": f"cc -std=c99 -O3 -march=native -ffast-math -c {name}.c   (link with -lm)",
        "test": f"cc -std=c99 -O3 -D{name.upper()}_SELFTEST {name}.c -lm -o selftest && ./selftest",
        "axes": _comment(", ".join(problem.axes)), "fields": _comment(", ".join(problem.fields)),
        "domain": "\n".join(
            f"#define {name.upper()}_{end} {{{', '.join(repr(float(x)) for x in bounds)}}}"
            for end, bounds in (("LOWER", problem.lower), ("UPPER", problem.upper))
        ),
        "clamp": f"{TANH_CLAMP}f", "numerator": horner(TANH_P), "denominator": horner(TANH_Q),
        **{f"rows{j}": _rows(name, j, registers) for j, registers in ((8, 1), (4, 1), (1, 4))},
        "eval": point.text([("u", m)]),
        "jac": derivative.text([("u", m), ("jacobian", d * m)]),
        "block": block.text([("u", m)]),
        "stack": _stack(name, {"eval": [point], "eval_jac": [derivative], "eval_batch": [point, block]}, d + m),
        "inside": inside.text([("inside", 1)]),
        "points": TEST_POINTS, "tiled": BLOCK + 3 * TEST_POINTS,
        "test_z": wrapped([number(name, float(x)) for x in z.reshape(-1)]),
        "test_u": listed(u), "test_jac": listed(jac),
        "float_value": tolerances[0], "float_jacobian": tolerances[1],
        "double_value": DOUBLE[0], "double_jacobian": DOUBLE[1],
    }  # fmt: skip
    names["constants"] = "\n".join(constants.declarations)
    return {
        kind: Template((Path(__file__).parent / f"model.{kind}.in").read_text(encoding="utf-8")).substitute(names)
        for kind in ("h", "c")
    }


def _inside(problem: Problem) -> Callable[[Float[Array, " d"]], Float[Array, "1"]]:
    """z -> 1 if the point belongs to the domain, and 0 otherwise."""

    def inside(z: Float[Array, " d"]) -> Float[Array, "1"]:
        lower, upper = (jnp.asarray(corner, z.dtype) for corner in (problem.lower, problem.upper))
        belongs = jnp.all((z >= lower) & (z <= upper))
        if problem.inside is not None:
            belongs &= problem.inside(z[: problem.coordinates])
        return belongs.astype(z.dtype)[None]

    return inside


def _stack(prefix: str, functions: Mapping[str, Sequence[Function]], columns: int) -> str:
    """Macros with the stack in bytes, at most, of each function of the header.

    The arrays are known exactly. Without optimisation, compilers also store every local constant. With optimisation,
    they keep copies of the arrays of one point in registers, and spill these; see ``SPILLS``.

    Args:
        prefix: of the names.
        functions: those that each function of the header calls.
        columns: the numbers per point of the copy that a batch makes of its remainder.
    """
    lines = []
    for name, called in functions.items():
        numbers = columns * BLOCK if name == "eval_batch" else 0
        for function in called:
            numbers += sum(function.arrays().values()) * (1 if function.block else 2) + function.locals()
        macro = f"#define {prefix.upper()}_{name.upper()}_STACK"
        lines.append(f"{macro} ({numbers} * sizeof({prefix}_real) + {prefix.upper()}_SPILLS)")
    return "\n".join(lines)


def _comment(text: str) -> str:
    """The text for a C comment, which names from the caller or from a model's file must not end."""
    return one_line(text, 2000).replace("*/", "* /")


def _value_and_jacobian(
    model: Model, dtype: DTypeLike
) -> Callable[[Float[Array, " d"]], tuple[Float[Array, " m"], Float[Array, "m d"]]]:
    field = cast_anywhere(model, dtype).field

    def value_and_jacobian(z: Float[Array, " d"]) -> tuple[Float[Array, " m"], Float[Array, "m d"]]:
        columns = [jax.jvp(field, (z,), (unit,))[1] for unit in np.eye(len(model.problem.axes), dtype=dtype)]
        return field(z), jnp.stack(columns, axis=1)

    return value_and_jacobian


def _test_vectors(model: Model) -> tuple[np.ndarray, list[np.ndarray], list[float]]:
    """Points that are exact in float, the model's values and Jacobians there in float64, and the tolerances in float.

    A tolerance is larger than FLOAT if the model itself is less accurate in float32 (a pressure with a large constant).
    """
    lower, upper = np.asarray(model.problem.lower), np.asarray(model.problem.upper)
    z = np.random.default_rng(0).uniform(lower, upper, (TEST_POINTS, len(lower))).astype(np.float32)
    with jax.enable_x64(True):
        double, single = (
            [np.asarray(x, np.float64) for x in jax.jit(jax.vmap(_value_and_jacobian(model, dtype)))(z.astype(dtype))]
            for dtype in (np.float64, np.float32)
        )
    errors = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(single, double, strict=True)]
    # Integer powers of ten, so that another machine, which rounds differently, writes the same file.
    rounded = [10.0 ** np.ceil(np.log10(4 * error + 1e-300)) for error in errors]
    tolerances = [max(least, power) for least, power in zip(FLOAT, rounded, strict=True)]
    return z.astype(np.float64), double, tolerances


def horner(coefficients: tuple[float, ...]) -> str:
    """A polynomial in s as a C expression; the coefficients are in order of increasing power."""
    text = f"{coefficients[-1]!r}f"
    for c in reversed(coefficients[:-1]):
        text = f"{c!r}f + s * ({text})"
    return text


def _rows(p: str, neurons: int, registers: int) -> str:
    """A C function that computes ``neurons`` outputs of a layer for ``registers`` vectors of points at a time.

    The sums of all of them stay in registers. It is written with GCC's vector types, because the vectorisers of gcc and
    clang would keep the sums in memory.
    """
    P, tiles = p.upper(), [(j, n) for j in range(neurons) for n in range(registers)]
    plus = lambda n: f" + {n}" if n else ""
    row = lambda j: f"{j * BLOCK} / {P}_LANES + " if j else ""
    sums = ", ".join(f"s{j}_{n} = zero + b[{j}]" for j, n in tiles)
    loads = ", ".join(f"x{n} = x[k * {BLOCK} / {P}_LANES + i{plus(n)}]" for n in range(registers))
    adds = "\n".join(f"            s{j}_{n} += w[k * outputs{plus(j)}] * x{n};" for j, n in tiles)
    stores = "\n".join(f"        y[{row(j)}i{plus(n)}] = s{j}_{n};" for j, n in tiles)
    return f"""\
static void {p}_rows{neurons}(int inputs, int outputs, const {p}_real *w, const {p}_real *b,
    const {p}_lanes *x, {p}_lanes *y)
{{
    const {p}_lanes zero = {{0}};
    int i, k;
    for (i = 0; i < {BLOCK} / {P}_LANES; i += {registers}) {{
        {p}_lanes {sums};
        for (k = 0; k < inputs; k++) {{
            const {p}_lanes {loads};
{adds}
        }}
{stores}
    }}
}}
"""
