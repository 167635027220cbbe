"""Stages: frozen dataclasses of numbers with three pure functions (``_stage.Stage``). A recipe is a tuple of them."""

from ._stage import Ending as Ending
from ._stage import Stage as Stage
from ._stage import Step as Step
from .adam import Adam as Adam
from .lbfgs import LBFGS as LBFGS
from .levenberg_marquardt import LevenbergMarquardt as LevenbergMarquardt
from .ssbroyden import SSBroyden as SSBroyden
