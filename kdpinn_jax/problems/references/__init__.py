"""Exact and converged numerical solutions of the problems."""
