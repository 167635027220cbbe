"""The command-line interface: ``python -m kdpinn_jax`` is equivalent to ``kdpinn``."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="kdpinn")
