"""How many cores this process may use. Without torch, which takes seconds and may be broken."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path


def cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores this process may use: its affinity, or its control group's quota where smaller."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    available = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(available, math.ceil(cpu_quota(cgroup))))


def cores_each(env: Mapping[str, str] = os.environ) -> int:
    """Cores for each of the training processes on this node."""
    return max(1, cores() // int(env.get("LOCAL_WORLD_SIZE", "1")))


def cpu_quota(cgroup: Path) -> float:
    """The control group's quota in cores, infinite (the machine's size) where there is none."""
    try:
        if (cgroup / "cpu.max").exists():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text().strip()
    except OSError:
        return float(os.cpu_count() or 1)
    if quota in ("max", "-1"):
        return float(os.cpu_count() or 1)
    return int(quota) / int(period)
