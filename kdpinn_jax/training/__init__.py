"""Training: the objective, its stages, the loop around them, distillation and sweeps."""
