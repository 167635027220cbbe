"""Errors of models: measured against a reference, bounded, estimated and plotted."""

from . import plots as plots
