"""Bounds on the error of a model, by theorems about the problems."""
