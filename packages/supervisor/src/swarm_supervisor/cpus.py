"""How many CPUs this process may use: affinity and cgroup quota."""

from __future__ import annotations

import math
import os
from pathlib import Path


def available_cpus() -> int:
    """Return how many nodes keep the CPUs of this process busy: at least 1.

    The CPUs of its affinity, or fewer if a cgroup above it has a smaller quota. A quota of 1.5 CPUs gives 2 nodes:
    one node could not use it up.
    """
    cpus = len(os.sched_getaffinity(0))
    quota = cgroup_quota()
    return max(1, cpus if quota is None else min(cpus, math.ceil(quota)))


def cgroup_quota(proc: Path = Path("/proc/self"), root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return the CPU quota of the tightest cgroup, or None without a limit. cgroup v2, then v1."""
    try:
        lines = (proc / "cgroup").read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            quotas += [_v2_quota(folder) for folder in _upwards(root, path)]
        elif "cpu" in controllers.split(","):
            for mount in (root / controllers, root / "cpu"):
                quotas += [_v1_quota(folder) for folder in _upwards(mount, path)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _upwards(root: Path, path: str) -> list[Path]:
    # In a container the path is often the host's path, while the mount only shows the container's part of it.
    folder = root / path.lstrip("/")
    return [folder, *(parent for parent in folder.parents if parent == root or root in parent.parents)]


def _v2_quota(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _v1_quota(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return None if quota <= 0 else quota / int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError, ZeroDivisionError):
        return None
