"""The work behind the commands: runs, sweeps, searches, predictions from files, and benchmarks of saved models."""
