"""Models as programs: fast prediction, exports to other hosts, and their latency."""
