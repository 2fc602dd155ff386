"""`swarm-cli broker`: the embedded development broker, in the foreground."""

import re
from typing import Annotated

import typer

from swarm_cli.errors import UsageError, settled

LAST_PORT = 65535
MOST = 100_000
"""Limit for partitions of a topic and repeats of a fault: more is a typing error."""


@settled
def broker(
    port: Annotated[
        int, typer.Option(help="Port of the first broker; 0 picks a free one.", min=0, max=LAST_PORT)
    ] = 9092,
    brokers: Annotated[int, typer.Option(help="Number of brokers; they use the following ports.", min=1, max=9)] = 1,
    topic: Annotated[
        list[str] | None, typer.Option(help="A topic to create; repeatable.", metavar="NAME:PARTITIONS")
    ] = None,
    round_trip_time: Annotated[
        float, typer.Option(help="Delay each response by MS milliseconds.", metavar="MS", min=0)
    ] = 0.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(help="Answer the next requests of a kind with an error; repeatable.", metavar="API:ERROR[:COUNT]"),
    ] = None,
) -> int:
    """Run an embedded Kafka broker for development, until Ctrl-C.

    All data is in memory and is lost at the end; a partition keeps about 5 MiB. Not for production.

    A fault names a request and an error of Kafka's protocol; _TRANSPORT drops the connection.

    Example: swarm-cli broker --topic flights:8 --fault Produce:NOT_LEADER_FOR_PARTITION:3
    """
    from swarm_consumer.testing.embedded_broker import run_embedded_broker

    if port + brokers - 1 > LAST_PORT:
        raise UsageError(f"{brokers} brokers from port {port} on need ports above {LAST_PORT}: give a lower --port.")
    topics = dict(_topic(text) for text in topic or [])
    if len(topics) < len(topic or []):
        raise UsageError("--topic names the same topic twice: name each once.")
    for text in fault or []:
        _check_fault(text)
    return run_embedded_broker(
        port=port,
        brokers=brokers,
        topics=topics,
        round_trip_time_s=round_trip_time / 1000,
        errors=fault or [],
    )


def _topic(text: str) -> tuple[str, int]:
    name, _, partitions = text.rpartition(":")
    if not name or not _is_count(partitions):
        raise UsageError(f"--topic takes NAME:PARTITIONS, as in flights:8, not {text!r}.")
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", name) or name in (".", ".."):  # Kafka's own rule
        raise UsageError(f"{name!r} is not a topic name: give at most 249 letters, digits, dots, dashes, underscores.")
    return name, int(partitions)


def _check_fault(text: str) -> None:
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(parts) or (len(parts) == 3 and not _is_count(parts[2])):
        raise UsageError(f"--fault takes API:ERROR or API:ERROR:COUNT, as in Produce:_TRANSPORT:3, not {text!r}.")


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= MOST
