"""A hint for loops that define a problem again for every value, and a bound on the memory that they keep.

JAX compiles again for every problem that computes something else, and its caches keep the programs, 10 to 100 MB each.
"""

import warnings

import jax

from ..pde.problem import Problem

#: The number of different problems of one name at which the hint is given, and after which JAX's caches are emptied.
HINT, LIMIT = 8, 32

_trained: dict[str, set[int]] = {}


def count_problem(problem: Problem) -> None:
    """Count the different problems of this name that were trained in this process.

    Warns:
        RuntimeWarning: there are many, so that ``coefficients=`` would save compiling.
    """
    trained = _trained.setdefault(problem.name, set())
    if hash(problem) in trained:
        return
    if len(trained) == LIMIT:
        jax.clear_caches()
        trained.clear()
    trained.add(hash(problem))
    if len(trained) == HINT:
        warnings.warn(
            f"{HINT} different problems named {problem.name!r} were trained in this process, and each was compiled; if "
            "they differ in numbers, use one problem with coefficients={'name': value} and pass its values to "
            "train_teacher(problem, key, coefficients={'name': value}), which compiles once",
            RuntimeWarning,
            stacklevel=4,
        )
