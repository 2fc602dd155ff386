"""What nodes run was loaded before the fork: shared, and the same for all, whatever lies on the disk by now."""

from pathlib import Path
from typing import Any

from swarm_consumer.testing import produce


def test_a_node_imports_no_code_of_its_own(
    embedded_broker: Any, start_swarm: Any, point_at: Any, eventually: Any, tmp_path: Path
) -> None:
    embedded_broker.create_topic("imports", 1)
    produce(embedded_broker.bootstrap, "imports", [b"one"])
    imports = tmp_path / "imports"
    swarm = start_swarm(
        "swarm", "tests.end_to_end.apps.imports:app", "--nodes", "1", *point_at(embedded_broker),
        TOPIC="imports", GROUP="imports", IMPORTS=str(imports),
    )  # fmt: skip
    eventually(imports.exists, 60, "a handled batch")
    assert [name for name in imports.read_text().split() if name.startswith("swarm_")] == []
    assert swarm.stop() == 0
