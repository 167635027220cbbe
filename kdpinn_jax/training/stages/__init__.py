"""Stages: frozen dataclasses of numbers with three pure functions (``_stage.Stage``). A recipe is a tuple of them."""

from .adam import Adam as Adam
from .lbfgs import LBFGS as LBFGS
from .levenberg_marquardt import LevenbergMarquardt as LevenbergMarquardt
from .ssbroyden import SSBroyden as SSBroyden
from .stage import Ending as Ending
from .stage import Stage as Stage
from .stage import Step as Step
