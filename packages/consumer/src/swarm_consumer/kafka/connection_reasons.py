"""Turn librdkafka's lines about a failed connection into one reason. Pure.

For a refused port it reports the same thing three times: for the bootstrap server, with a count of identical
errors, and as "1/1 brokers are down". Its lines look like this (rd_kafka_broker_set_state, rd_kafka_broker_fail):
    localhost:9999/bootstrap: Connect to ipv4#127.0.0.1:9999 failed: Connection refused (after 0ms in state CONNECT)
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_THREAD = re.compile(r"^\[thrd:[^\]]*\]: ")
_TIMING = re.compile(r"\s*\(after \d+ms in state .*\)$")
_SUM = re.compile(r"^\d+/\d+ brokers are down$")
_BROKER = re.compile(r"^(?:\w+://)?([^\s/]+:\d+)/\S+: (.*)$", re.DOTALL)
_ATTEMPT = re.compile(r"^Connect to \S+ failed: ")


def connection_reason(lines: Iterable[str], otherwise: str = "no answer") -> str:
    """The distinct reasons in `lines`, with the broker in front if brokers have different reasons."""
    reasons: dict[str, dict[str, None]] = {}
    for line in lines:
        text = _TIMING.sub("", _THREAD.sub("", line.strip())).rstrip(". ")
        if not text or _SUM.match(text):
            continue
        broker, reason = "", text
        if found := _BROKER.match(text):
            broker, reason = found.groups()
            attempt = _ATTEMPT.match(reason)
            if attempt is not None:
                reason = reason[attempt.end() :].lower()
        reasons.setdefault(reason, {})[broker] = None
    if len(reasons) <= 1:
        return next(iter(reasons), otherwise)
    return "; ".join(
        f"{', '.join(filter(None, brokers))}: {reason}" if any(brokers) else reason
        for reason, brokers in reasons.items()
    )
