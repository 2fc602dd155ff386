"""The container's memory limit (cgroup v2) and each node's part of it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from swarm_liveness.settings import Limits, LivenessSettingsError, MemoryMetric

logger = logging.getLogger("swarm_liveness")

MB = 2**20


def container_limit_mb(
    mount: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> float | None:
    """The memory limit of this process's container, in MB of 2^20 bytes; None if there is none.

    Each level of the hierarchy limits everything below it, so the smallest `memory.max` on the way up counts. In a
    container with its own cgroup namespace the path is "/" (cgroup_namespaces(7)). Only cgroup v2 is read: the result
    is None on a machine that still mounts v1.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    path = next((line[3:] for line in lines if line.startswith("0::")), None)
    if path is None or not (mount / "cgroup.controllers").exists():
        return None
    # A path outside the namespace's root shows as "/../…" and cannot be walked: only the root of the mount is visible.
    parts = [part for part in path.split("/") if part]
    if ".." in parts:
        parts = []
    limits = [_limit(mount.joinpath(*parts[:depth])) for depth in range(len(parts) + 1)]
    known = [limit for limit in limits if limit is not None]
    return min(known) / MB if known else None


def _limit(group: Path) -> int | None:
    try:
        text = (group / "memory.max").read_text().strip()
    except OSError:
        return None  # the root group has no limit file
    return None if text == "max" else int(text)


def node_limit_mb(
    container_mb: float, share: float, shared_mb: float, nodes: int, metric: MemoryMetric = "uss"
) -> float:
    """The memory limit of one node in MB that keeps all nodes and their shared preload within a share of the container.

    - `container_mb`: the container's limit.
    - `share`: the part of it that the swarm may use, above 0 and at most 1. Leave some for the page cache and for the
      short time in which an old node and its replacement both live.
    - `shared_mb`: the preload that all nodes share: the supervisor's own RSS right before the fork.
    - `nodes`: the number of nodes.
    - `metric`: what the limit applies to. RSS counts the preload in each node, PSS a part of it, USS none.

    Raises LivenessSettingsError for a bad number and when nothing is left for the nodes.
    """
    given: object = share
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= 1:
        raise LivenessSettingsError(f"memory_share is {share!r}: give a number above 0 and at most 1, like 0.8")
    if isinstance(nodes, bool) or nodes < 1:
        raise LivenessSettingsError(f"nodes is {nodes!r}: give a number that is at least 1")
    left = container_mb * share - shared_mb
    if left <= 0:
        raise LivenessSettingsError(
            f"{share:.0%} of the container's {container_mb:.0f} MB is {container_mb * share:.0f} MB, but the preload "
            f"that all nodes share takes {shared_mb:.0f} MB: raise the container's limit or preload less"
        )
    own = left / nodes
    if metric == "rss":
        return own + shared_mb
    if metric == "pss":
        return own + shared_mb / (nodes + 1)  # the supervisor maps the preload too
    return own


def limits_with_share(limits: Limits, share: float | None, shared_mb: float, nodes: int) -> Limits:
    """The limits, with the memory limit that follows from a share of this process's container.

    They are unchanged if `share` is None, or if no container limits this process, which is logged. `shared_mb` and
    LivenessSettingsError are as in `node_limit_mb`.
    """
    if share is None:
        return limits
    container_mb = container_limit_mb()
    if container_mb is None:
        logger.warning("memory_share is set, but this process has no cgroup v2 memory limit: memory is not checked")
        return limits
    limit = node_limit_mb(container_mb, share, shared_mb, nodes, limits.memory_metric)
    whose = f"each of {nodes} nodes" if nodes > 1 else "the only process"
    logger.info("memory_limit: %.0f MB of %s for %s", limit, limits.memory_metric, whose)
    return replace(limits, memory_limit=limit)
