"""Trained networks: models, their reports, errors and files."""
