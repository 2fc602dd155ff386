"""`--progress-memory` takes any text: what it names is made at the start, and refused by the option's name then."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from swarm_cli.errors import UsageError
from swarm_cli.progress_memory import LEAST_NODES, progress_memory


@pytest.mark.parametrize("path", ["wrong\0", "no such", "1x", "/", "/proc/self/mem"])
def test_a_path_that_cannot_be_used_is_refused_by_the_name_of_its_option(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="--progress-memory"):
        progress_memory(path, 2)
    assert list(tmp_path.iterdir()) == []


def test_off_is_none_and_auto_has_room_to_scale() -> None:
    assert progress_memory("off", 2) is None
    memory = progress_memory("auto", 2)
    assert memory is not None
    memory.epitaph  # noqa: B018  it is one
    memory.close()
    assert LEAST_NODES >= 4


def test_a_machine_without_memory_for_it_costs_the_feature_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("swarm_consumer.progress.memory.mmap.mmap", refused)
    with caplog.at_level(logging.WARNING, "swarm_cli"):
        assert progress_memory("auto", 2) is None
    assert "start at committed offsets" in caplog.text
