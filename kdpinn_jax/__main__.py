"""``python -m kdpinn_jax`` is the command ``kdpinn``."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="kdpinn")
