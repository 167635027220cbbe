"""Train a physics-informed neural network, distil it into a tiny student, and serve the student fast on a CPU.

The public names are listed in ``__init__.pyi`` and are imported when they are first used, so that the command line can
answer without JAX.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
