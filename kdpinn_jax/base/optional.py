"""Packages that only some functions need."""

import importlib
from typing import Any


def optional_package(name: str, caller: str) -> Any:
    """A package of the extra ``geometry``.

    Args:
        name: of the package.
        caller: what needs it, for the message.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError(f"{caller} requires {name}: pip install 'kdpinn-jax[geometry]'") from None
