"""Optimiser stages: frozen dataclasses of numbers with three pure functions (``stage.Stage``)."""

from .adam import Adam as Adam
from .lbfgs import LBFGS as LBFGS
from .levenberg_marquardt import LevenbergMarquardt as LevenbergMarquardt
from .ssbroyden import SSBroyden as SSBroyden
from .stage import Stage as Stage
from .stage import StageStep as StageStep
