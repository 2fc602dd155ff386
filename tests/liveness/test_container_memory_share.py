from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm_liveness import LivenessListener, LivenessSettingsError, ProcessMemory
from swarm_liveness._judging import container
from swarm_liveness._judging.container import container_limit_mb, node_limit_mb


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A cgroup v2 mount with /kubepods (4096 MB) / pod (2048 MB) / container (no limit of its own)."""
    mount = tmp_path / "cgroup"
    group = mount / "kubepods" / "pod" / "container"
    group.mkdir(parents=True)
    (mount / "cgroup.controllers").write_text("cpu memory\n")
    (mount / "kubepods" / "memory.max").write_text(f"{4096 * 2**20}\n")
    (mount / "kubepods" / "pod" / "memory.max").write_text(f"{2048 * 2**20}\n")
    (group / "memory.max").write_text("max\n")
    return mount


def membership(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "membership"
    path.write_text(text)
    return path


def test_the_smallest_limit_on_the_way_up_counts(tmp_path: Path, tree: Path) -> None:
    assert container_limit_mb(tree, membership(tmp_path, "0::/kubepods/pod/container\n")) == 2048
    assert container_limit_mb(tree, membership(tmp_path, "0::/kubepods\n")) == 4096


def test_a_namespaced_container_sees_its_own_group_as_the_root(tmp_path: Path, tree: Path) -> None:
    (tree / "memory.max").write_text(f"{512 * 2**20}\n")
    assert container_limit_mb(tree, membership(tmp_path, "1:name=systemd:/\n0::/\n")) == 512
    assert container_limit_mb(tree, membership(tmp_path, "0::/../../elsewhere\n")) == 512


@pytest.mark.parametrize("text", ["0::/\n", "4:memory:/docker/1\n", ""])
def test_no_limit_is_none(tmp_path: Path, tree: Path, text: str) -> None:
    assert container_limit_mb(tree, membership(tmp_path, text)) is None


def test_version_one_and_a_missing_proc_are_none(tmp_path: Path) -> None:
    assert container_limit_mb(tmp_path, membership(tmp_path, "0::/\n")) is None
    assert container_limit_mb(tmp_path, tmp_path / "missing") is None


@settings(deadline=None)
@given(
    container=st.floats(min_value=100, max_value=100_000),
    share=st.floats(min_value=0.1, max_value=1.0),
    preload_share=st.floats(min_value=0.0, max_value=0.95),
    nodes=st.integers(min_value=1, max_value=256),
)
def test_all_nodes_at_their_limit_and_the_preload_fit_the_share(
    container: float, share: float, preload_share: float, nodes: int
) -> None:
    """Each metric's limit describes the same node: own memory plus the part of the preload that the metric counts."""
    preload = preload_share * container * share
    own = node_limit_mb(container, share, preload, nodes, "uss")
    assert own * nodes + preload == pytest.approx(container * share)
    assert node_limit_mb(container, share, preload, nodes, "rss") == pytest.approx(own + preload)
    assert node_limit_mb(container, share, preload, nodes, "pss") == pytest.approx(own + preload / (nodes + 1))


def test_a_preload_that_leaves_nothing_is_refused_with_the_numbers() -> None:
    with pytest.raises(LivenessSettingsError, match=r"80% of the container's 1000 MB is 800 MB.*takes 900 MB"):
        node_limit_mb(1000, 0.8, 900, 4)


@pytest.mark.parametrize("share", [0, -0.5, 1.01, float("nan"), True])
def test_a_share_that_cannot_be_is_refused(share: float) -> None:
    with pytest.raises(LivenessSettingsError, match="memory_share is"):
        LivenessListener(memory_share=share)


def test_a_share_and_a_limit_together_are_refused() -> None:
    with pytest.raises(LivenessSettingsError, match="give one of them"):
        LivenessListener(100, memory_share=0.5)


def test_before_the_fork_a_share_becomes_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "container_limit_mb", lambda: 10_000.0)
    listener = LivenessListener(memory_share=0.5)
    with ProcessMemory() as memory:
        preload = memory.rss_mb()
    listener.before_fork(nodes=4)
    assert listener.limits.memory_limit == pytest.approx((5000 - preload) / 4, abs=10)


@pytest.mark.parametrize("metric", ["uss", "pss", "rss"])
def test_where_nothing_is_forked_nothing_is_shared(monkeypatch: pytest.MonkeyPatch, metric: Any) -> None:
    """What one process has loaded is in its own USS: subtracting it would put the limit below an idle process."""
    monkeypatch.setattr(container, "container_limit_mb", lambda: 1250.0)
    listener = LivenessListener(memory_share=0.8, memory_metric=metric)
    listener.without_fork()
    assert listener.limits.memory_limit == 1000.0


def test_without_a_container_limit_memory_is_not_judged_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(container, "container_limit_mb", lambda: None)
    listener = LivenessListener(memory_share=0.5)
    listener.before_fork(nodes=4)
    assert listener.limits.memory_limit is None
    assert "memory is not checked" in caplog.text
