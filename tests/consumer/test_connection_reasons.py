"""What librdkafka says of a connection that fails, said once."""

import pytest

from swarm_consumer.kafka.connection_reasons import connection_reason

REFUSED = (
    "localhost:9999/bootstrap: Connect to ipv4#127.0.0.1:9999 failed: Connection refused (after 0ms in state CONNECT)"
)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], "no answer"),
        (["", "1/1 brokers are down"], "no answer"),
        ([REFUSED], "connection refused"),
        (
            [
                REFUSED,
                "1/1 brokers are down",
                f"{REFUSED[:-1]}, 30 identical error(s) suppressed)",
                f"[thrd:localhost:9999/bootstrap]: {REFUSED}",
                REFUSED.replace("ipv4#127.0.0.1", "ipv6#[::1]"),
            ],
            "connection refused",
        ),
        (
            [REFUSED, "no:9092/boot: Failed to resolve 'no:9092': Name or service not known (after 4ms in state UP)"],
            "localhost:9999: connection refused; no:9092: Failed to resolve 'no:9092': Name or service not known",
        ),
        (
            ["sasl_ssl://k:9093/1: SASL authentication error: Authentication failed (after 3ms in state AUTH_REQ)"],
            "SASL authentication error: Authentication failed",
        ),
        (["Broker: Not controller"], "Broker: Not controller"),
    ],
)  # fmt: skip
def test_each_reason_is_said_once_and_alone(lines: list[str], reason: str) -> None:
    assert connection_reason(lines) == reason
