"""`server APP` is the consumer, its liveness and the command line: the supervisor is not even imported."""

import resource
import signal
from pathlib import Path
from typing import Any

from swarm_consumer.testing import committed_offsets, produce


def test_server_works_with_nothing_of_the_supervisor_loaded(
    embedded_broker: Any, start_swarm: Any, point_at: Any, eventually: Any, tmp_path: Path
) -> None:
    embedded_broker.create_topic("modules", 1)
    produce(embedded_broker.bootstrap, "modules", [b"one"])
    modules = tmp_path / "modules"
    server = start_swarm(
        "server", "tests.end_to_end.apps.modules:app", *point_at(embedded_broker),
        TOPIC="modules", GROUP="modules", MODULES=str(modules),
    )  # fmt: skip
    eventually(modules.exists, 60, "a handled batch")
    loaded = {name.partition(".")[0] for name in modules.read_text().split()}
    assert {name for name in loaded if name.startswith("swarm_")} <= {
        "swarm_cli", "swarm_consumer", "swarm_health", "swarm_liveness",
    }  # fmt: skip
    assert server.stop() == 0
    assert committed_offsets(embedded_broker.bootstrap, "modules", "modules") == {0: 1}


def test_a_quit_ends_a_server_at_once(
    embedded_broker: Any, start_swarm: Any, point_at: Any, eventually: Any, topic_name: Any
) -> None:
    """It takes INT, TERM and HUP; the handler of its start swallowed a QUIT for as long as it ran."""
    topic = topic_name("quit")
    embedded_broker.create_topic(topic, 1)
    server = start_swarm(
        "server", "tests.end_to_end.apps.counting:app", *point_at(embedded_broker), TOPIC=topic, GROUP=topic
    )
    eventually(lambda: "starting -> running" in server.output(), 60, "a running server")
    resource.prlimit(server.popen.pid, resource.RLIMIT_CORE, (0, 0))
    server.popen.send_signal(signal.SIGQUIT)
    assert server.popen.wait(30) == -signal.SIGQUIT
