"""Training: objectives, optimiser stages, the loop that runs them, distillation, and sweeps."""
