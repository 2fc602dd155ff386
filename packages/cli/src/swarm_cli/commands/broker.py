"""`swarm-cli broker`: the embedded development broker, in the foreground."""

from typing import Annotated

import typer

from swarm_cli.errors import UsageError, settled


@settled
def broker(
    port: Annotated[int, typer.Option(help="Port of the first broker; 0: a free one.", min=0, max=65535)] = 9092,
    brokers: Annotated[int, typer.Option(help="How many brokers; the next ports are theirs.", min=1, max=9)] = 1,
    topic: Annotated[
        list[str] | None, typer.Option(help="A topic to create; repeatable.", metavar="NAME:PARTITIONS")
    ] = None,
    round_trip_time: Annotated[
        float, typer.Option(help="Delay each response by so many ms.", metavar="MS", min=0)
    ] = 0.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(help="Answer the next requests of a kind with an error; repeatable.", metavar="API:ERROR[:COUNT]"),
    ] = None,
) -> int:
    """Run an embedded Kafka broker for development, until Ctrl-C.

    All data is in memory and ends with it; a partition keeps about 5 MiB. Not for production.

    Example: swarm-cli broker --topic flights:8
    """
    from swarm_consumer.testing.embedded_broker import run_embedded_broker

    return run_embedded_broker(
        port=port,
        brokers=brokers,
        topics=dict(_topic(text) for text in topic or []),
        round_trip_time_s=round_trip_time / 1000,
        errors=fault or [],
    )


def _topic(text: str) -> tuple[str, int]:
    name, _, partitions = text.rpartition(":")
    if not name or not partitions.isdigit() or int(partitions) < 1:
        raise UsageError(f"--topic takes NAME:PARTITIONS, as in flights:8, not {text!r}.")
    return name, int(partitions)
