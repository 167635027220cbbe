"""Errors of models: measured against a reference, bounded, estimated, drawn."""

from . import plots as plots
