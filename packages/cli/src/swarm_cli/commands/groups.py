"""`swarm-cli groups seek|reset`: move the committed offsets of a group without members."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from swarm_cli.configuration import Configuration
from swarm_cli.errors import UsageError
from swarm_cli.operation import say_json
from swarm_cli.options import TOPICS, AsJson, registered
from swarm_cli.program import Program

if TYPE_CHECKING:
    from swarm_consumer.admin import Cluster, Move
    from swarm_consumer.routing import SubscriptionGroup

program = Program(
    help="Move the committed offsets of a group of APP: first as a dry run, then with --yes.",
)

GroupName = Annotated[str, typer.Option("--group", help="The consumer group.", metavar="GROUP", show_envvar=False)]
To = Annotated[
    str,
    typer.Option(
        "--to",
        help="earliest, latest, an offset, +N or -N from the committed offset, or a time like 2026-11-21T06:00Z.",
        metavar="POSITION",
        show_envvar=False,
    ),
]
Partitions = Annotated[
    list[int] | None,
    typer.Option("--partition", help="Only this partition; repeatable.", metavar="N", min=0, show_envvar=False),
]
Yes = Annotated[
    bool, typer.Option("--yes", help="Move the offsets; without it, only show the plan.", show_envvar=False)
]


def seek(
    configuration: Configuration,
    group: GroupName,
    to: To,
    partition: Partitions = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> int:
    """Move a group to an offset, a time, the start or the end. This is a dry run unless you add --yes.

    Stop the group's members first: Kafka refuses to move the offsets of an active group.

    Example: swarm-cli groups seek my_app:app --group billing --to 2026-11-21T06:00Z --include-topics orders
    """
    from swarm_consumer.admin import Position

    position = Position.parse(to)
    return _moved(configuration, group, lambda groups, topic: position, partition, yes, as_json)


def reset(
    configuration: Configuration,
    group: GroupName,
    partition: Partitions = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> int:
    """Move a group to where a new group would start: each topic's initial_offset.

    Example: swarm-cli groups reset my_app:app --group billing --yes
    """
    from swarm_consumer.admin import Position, initial_offset

    def initial(groups: "list[SubscriptionGroup]", topic: str) -> Position:
        start = initial_offset(groups, group, topic)
        if start == "error":
            raise UsageError(
                f"topic {topic!r} has initial_offset 'error', which names no start position: use groups seek --to."
            )
        return Position.parse(start)

    return _moved(configuration, group, initial, partition, yes, as_json)


def _moved(
    configuration: Configuration, name: str, place: Any, only: list[int] | None, yes: bool, as_json: bool
) -> int:
    from dataclasses import asdict

    from swarm_cli.administration.connection import connected, values_of
    from swarm_cli.administration.scope import chosen_groups
    from swarm_cli.composition import overridden_app
    from swarm_consumer.declaring.checks import nearest

    app = overridden_app(configuration)
    known = sorted({group.consumer_group for group in app.subscription_groups()})
    if name not in known:
        raise UsageError(f"the application has no group {name!r}{nearest(name, known)} (there is {', '.join(known)}).")
    groups = [group for group in chosen_groups(app, configuration) if group.consumer_group == name]
    if not groups:
        raise UsageError(f"the filters exclude every topic of group {name!r}.")
    with connected(app, values_of(groups[0].properties), configuration) as cluster:
        moves = _moves(cluster, groups, name, place, only)
        members = cluster.group(name).members()
        changing = {(move.topic, move.partition): move.after for move in moves if move.changes}
        done = bool(yes and changing)
        if done:
            cluster.group(name).commit(changing)
    if as_json:
        data = [asdict(move) | {"changes": move.changes} for move in moves]
        say_json({"group": name, "members": members, "done": done, "moves": data}, indented=True)
        return 0
    _show(moves)
    typer.echo(_summary(name, len(changing), done, members))
    return 0


def _moves(
    cluster: "Cluster", groups: "list[SubscriptionGroup]", name: str, place: Any, only: list[int] | None
) -> "list[Move]":
    from swarm_consumer.admin import partitions_of

    asked = partitions_of(cluster, groups).get(name, [])
    for number in only or []:
        if all(number != partition for _, partition in asked):
            raise UsageError(f"no topic in group {name!r} has partition {number}.")
    asked = [each for each in asked if only is None or not only or each[1] in only]
    wanted = {each: place(groups, each[0]) for each in asked}
    times = {position.number for position in wanted.values() if position.word == "time"}
    group = cluster.group(name)
    at_time = {moment: group.at_time(asked, moment) for moment in times}
    return [
        one.moved_to(position, at_time.get(position.number, {}).get((one.topic, one.partition)))
        for one in group.offsets(asked)
        for position in [wanted[one.topic, one.partition]]
    ]


def _show(moves: "list[Move]") -> None:
    from swarm_cli.views.table import table_lines

    header = ("TOPIC", "PARTITION", "COMMITTED", "THEN", "NOTE")
    rows = [(move.topic, move.partition, move.before, move.after, move.note) for move in moves]
    for line in table_lines(header, rows, right=header[1:4]):
        typer.echo(line)


def _summary(name: str, changing: int, done: bool, members: int | None) -> str:
    partitions = f"{changing} partition{'' if changing == 1 else 's'}"
    if done:
        return f"Moved {partitions} of group {name}."
    if not changing:
        return "Nothing to do."
    at_work = f" Group {name} has {members} member{'' if members == 1 else 's'}: stop them first." if members else ""
    return f"Dry run: nothing was changed.{at_work} Repeat it with --yes to move {partitions} of group {name}."


for command in (seek, reset):
    program.command(command.__name__)(registered(command, TOPICS))
