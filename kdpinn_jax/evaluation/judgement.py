"""Whether a correction tells the error of a model: the number, or the reason why there is none."""

import math

from .estimates import Kind
from .stability import Stability

#: If the correction leaves a larger fraction β of the residual, 1/(1 − β) is arbitrary, and the stability constant
#: limits the error instead. Good models often leave such a fraction, because the correction does not reproduce the fine
#: oscillations of their residual, although its distance may be right: 0.8 to 1.7 times the error (black_scholes and
#: burgers, hard conditions, three layers of 16, 60 to 150 steps).
LARGEST_RATIO = 0.5
#: The stability constant has settled if twice as many functions raise it by no more than this factor: 1.0 to 1.2 for
#: problems with one solution, and up to 2.6 if that varies fast (kuramoto_sivashinsky). Without one of their conditions
#: the wave, heat and advection equations and Laplace's equation have 20 to 70 in a square, and 3.8 or more in a box
#: that is five times as long.
SETTLED, UNDETERMINED = 1.5, 3.0
#: After a poor correction there is no number if the residual allows an error larger than this fraction of the solution.
LARGEST_SHARE = 0.25


def judge(distance: float, residual: float, ratio: float, constants: Stability, size: float) -> tuple[Kind, float, str]:
    """The kind and value of an estimate, and the sentence that states its assumption or why there is none.

    A poor correction gives a value between the distance and the largest error that the residual allows, at least a
    tenth of the latter.

    Args:
        distance: ‖û − ũ‖ of the model û and the corrected model ũ.
        residual: √(loss of û).
        ratio: √(loss of ũ) / √(loss of û), β.
        constants: the largest error per residual.
        size: ‖û‖.
    """
    allowed, poor = constants.constant * residual, not ratio <= LARGEST_RATIO
    if math.isinf(constants.constant):
        return _unknown(
            "a change of the model changes no residual: the equation and its conditions do not determine the solution; "
            "add the missing initial or boundary condition"
        )
    growth = constants.constant / constants.coarse
    if (growth > UNDETERMINED and poor) or (growth > SETTLED and not poor and growth * allowed > size):
        return _unknown(
            f"the residual allows an error of {allowed:.2g}, and {growth:.2g} times as much with twice as many "
            "functions to represent it: the conditions do not determine the solution (add the missing initial or "
            "boundary condition), or the solution varies too fast to tell (use shorter time windows)"
        )
    if not poor:
        sentence = f"the correction leaves no larger a fraction of the error than of the residual, {ratio:.2g}"
        return "estimate", distance / (1 - ratio), sentence
    # A constant that has not settled is continued to four times as many functions.
    further = growth**2 if growth > SETTLED else 1.0
    largest = distance + min(ratio, 1.0) * allowed * further
    if not largest <= LARGEST_SHARE * size:
        return _unknown(
            f"the correction left {ratio:.2g} of the residual, which allows an error of {largest:.2g} in a solution "
            f"of size {size:.2g}; train longer, with a larger network or over a shorter time"
        )
    sentence = (
        f"the correction left {ratio:.2g} of the residual, and the error lies between its distance, {distance:.2g}, "
        f"and {largest:.2g}, the largest that the residual allows"
    )
    return "estimate", max(math.sqrt(distance * largest), largest / 10), sentence


def _unknown(reason: str) -> tuple[Kind, float, str]:
    return "unknown", math.nan, reason
