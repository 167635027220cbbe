"""Options of XLA's compiler, as far as the installed version knows them; the environment's XLA_FLAGS stay untouched."""

import functools

import jax


def known_options(**options: bool | int | str) -> dict[str, bool | int | str]:
    """Those of the options that this XLA knows, for ``jax.jit(…, compiler_options=…)``: their names are not part of
    any interface, and one that is gone costs time and nothing else."""
    return {name: value for name, value in options.items() if _is_known(name, value)}


@functools.cache
def _is_known(name: str, value: bool | int | str) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
