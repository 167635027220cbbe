"""The latency benchmark: methods of prediction, timed in turn in this process. ``runs.bench`` times saved models."""
