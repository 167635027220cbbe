"""The latency benchmark: ``kdpinn bench``."""

from ._bench import SIZES as SIZES
from ._bench import bench as bench
from ._bench import measured as measured
from ._methods import METHODS as METHODS
