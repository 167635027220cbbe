"""The machine that a result was measured on."""

import os
import platform
from pathlib import Path
from typing import Any

from .storage import library_versions


def cpu_name() -> str:
    """The processor's model name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def available_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_machine(*optional: str) -> dict[str, Any]:
    """Everything that a measured time depends on, for JSON.

    Args:
        optional: further distributions whose versions are listed if they are installed.

    Returns:
        ``{"cpu", "cores", "load", "platform", "python", "versions"}``; ``load`` is the one-minute load average before
        the measurement, or None if the platform has none.
    """
    return {
        "cpu": cpu_name(),
        "cores": available_cores(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": library_versions(*optional),
    }
