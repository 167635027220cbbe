"""Models as programs for other hosts."""
