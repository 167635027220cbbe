"""XLA compiler options that the installed version supports, passed per function; XLA_FLAGS is not changed."""

import functools

import jax


def known_options(**options: bool | int | str) -> dict[str, bool | int | str]:
    """The subset of the options that the installed XLA supports, for ``jax.jit(…, compiler_options=…)``.

    The names of options are not a stable interface of XLA. Without an option that it dropped, a program is slower but
    still correct.

    Args:
        options: compiler options by name.
    """
    return {name: value for name, value in options.items() if _is_known(name, value)}


@functools.cache
def _is_known(name: str, value: bool | int | str) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
