"""Models as programs: fast prediction, export to other hosts, and latency."""
