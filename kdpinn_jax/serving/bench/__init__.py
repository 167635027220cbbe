"""The latency benchmark: ``kdpinn bench``."""

from .measure import SIZES as SIZES
from .measure import bench as bench
from .measure import measured as measured
from .methods import METHODS as METHODS
