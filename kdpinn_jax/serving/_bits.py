"""Operations on the bits of floating-point numbers that a program can express without them.

JAX computes ``jnp.copysign`` and ``jnp.signbit`` from the bit of the sign, and splits a number into a leading and a
remaining part by clearing its last bits.
"""

from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn

from .build import Bits, ProgramBuilder, Scalar

_SIGN, _ALL = 1 << 63, (1 << 64) - 1
#: The number of bits by which a fraction in float64 is longer than in float32.
_SURPLUS = 29


def of_bits(builder: ProgramBuilder, equation: JaxprEqn, arguments: list[Any], whole: bool) -> Scalar | Bits | None:
    """The result of an equation that reads or writes bits, at one number.

    Args:
        builder: collects the nodes.
        equation: the equation.
        arguments: numbers, or their bits.
        whole: whether the remaining part of a number that loses its last bits is computed as well, so that the number
            itself serves as its leading part. The remaining part is then zero. In float32, which has none of the bits
            that JAX clears in float64, it is zero anyway.

    Returns:
        The number or its bits; None if a program cannot express it.
    """
    name, params, first = equation.primitive.name, equation.params, arguments[0]
    if name == "bitcast_convert_type" and np.dtype(params["new_dtype"]).itemsize == 8:
        if not isinstance(first, Bits):
            return Bits(first) if np.issubdtype(params["new_dtype"], np.integer) else None
        return first.number if params["new_dtype"] == np.float64 and not first.sign else None
    if (
        name == "convert_element_type"
        and np.dtype(params["new_dtype"]) == np.bool_
        and isinstance(first, Bits)
        and first.sign
    ):
        # A zero has a sign as well, which its inverse shows.
        inverse = builder.number("div", [1.0, first.number])
        return builder.number("or", [builder.number("lt", [x, 0.0]) for x in (first.number, inverse)])
    if len(arguments) != 2:
        return None
    bits, constant = arguments if isinstance(first, Bits) else arguments[::-1]
    if not isinstance(bits, Bits) or bits.sign or not isinstance(constant, int):
        return None
    if name.startswith("shift_right") and bits is first and constant == 63:
        return Bits(bits.number, sign=True)
    if name == "and":
        return _masked(builder, bits, constant & _ALL, whole)
    return None


def _masked(builder: ProgramBuilder, bits: Bits, mask: int, whole: bool) -> Bits | None:
    if mask == _ALL ^ _SIGN:
        return Bits(builder.number("abs", [bits.number]))
    if mask == _SIGN:
        return Bits(bits.number, sign=True)
    cleared = (_ALL ^ mask).bit_length()
    return bits if whole and cleared <= _SURPLUS and mask == _ALL ^ ((1 << cleared) - 1) else None
