"""Write what docs/what-a-crash-costs.md takes from the code: its picture, its tables, its log lines.

``hatch run crash-page`` writes docs/crash.svg and what stands between the page's marks; ``--check`` only
compares, and a test does.
"""

import dataclasses
import html
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from swarm_cli.own_settings import OwnSettings
from swarm_consumer import App, DeadLetters, NodeDied
from swarm_consumer._running.dead_letter_post import NO_TOPIC
from swarm_consumer._scheduling.take_over import FRESH_NS, Refusal
from swarm_consumer.events import DeadLettered, Event, PartitionParked, SuspectsFound, TakenOver, TakeOverRefused
from swarm_consumer.routing.client_properties import heartbeat_ms
from swarm_supervisor import Settings

FOLDER = Path(__file__).resolve().parent.parent / "docs"
PAGE, PICTURE = FOLDER / "what-a-crash-costs.md", FOLDER / "crash.svg"

JOIN_S = 0.2
"""Measured: fork, join, first fetch (`hatch run bench crash`)."""
RECOMMENDED_FIRST_DELAY_S = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Defaults:
    """What the code does if nothing is set."""

    restart_delay_s: float
    session_s: float
    heartbeat_s: float
    commit_s: float
    max_messages: int


def defaults() -> Defaults:
    """Ask the code."""
    app = App("page", kafka={"bootstrap.servers": "localhost:9092"})

    @app.consume("topic", group="group")
    def handle(messages: object) -> None:
        """Stands for any."""

    (group,) = app.subscription_groups()
    supervisor = Settings()
    first = supervisor.first_restart_delay
    return Defaults(
        restart_delay_s=supervisor.node_restart_delay if first is None else first,
        session_s=group.session_timeout_s,
        heartbeat_s=heartbeat_ms(group.session_timeout_s) / 1000,
        commit_s=group.commit_interval_s,
        max_messages=group.routes[0].settings.max_messages,
    )


# -- the picture -------------------------------------------------------------------------------------------------------

LEFT, WIDTH, ROW, TOP = 250, 560, 46, 64
GRAY, BLUE, RED = "#8a919e", "#4c8bf5", "#d9534f"


def picture(known: Defaults) -> str:
    """Draw how long the partitions of a killed node are silent, by what is set."""
    longest = known.session_s + known.restart_delay_s
    rows: list[tuple[str, str, list[tuple[float, str, str]]]] = [
        (
            "first_restart_delay 0",
            "static members, or eviction",
            [(RECOMMENDED_FIRST_DELAY_S, RED, "restart delay"), (JOIN_S, BLUE, "fork, join, first record")],
        ),
        (
            "the defaults",
            "static members",
            [(known.restart_delay_s, RED, "restart delay"), (JOIN_S, BLUE, "fork, join, first record")],
        ),
        (
            "dynamic members, no eviction",
            "or the whole machine is lost",
            [(known.session_s, GRAY, "Kafka waits for the end of the session")],
        ),
    ]
    scale = WIDTH / longest
    height = TOP + ROW * len(rows) + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 90} {height}" '
        f'font-family="system-ui, sans-serif" font-size="13">',
        "<title>How long the partitions of a killed node are silent</title>",
        f'<rect width="{LEFT + WIDTH + 90}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-weight="600">SIGKILL; the supervisor knows within milliseconds</text>',
        f'<line x1="{LEFT}" y1="32" x2="{LEFT}" y2="{height - 34}" stroke="{RED}"/>',
    ]
    for number, (title, under, spans) in enumerate(rows):
        y, x, total = TOP + ROW * number, float(LEFT), sum(length for length, _, _ in spans)
        parts.append(f'<text x="{LEFT - 12}" y="{y + 6}" text-anchor="end">{html.escape(title)}</text>')
        parts.append(
            f'<text x="{LEFT - 12}" y="{y + 21}" text-anchor="end" fill="{GRAY}" font-size="11">'
            f"{html.escape(under)}</text>"
        )
        beside = []
        for length, color, text in spans:
            wide = max(length * scale, 3.0 if length else 0.0)
            if wide:
                parts.append(f'<rect x="{x:.1f}" y="{y - 8}" width="{wide:.1f}" height="22" fill="{color}"/>')
            if wide > 7 * len(text):
                parts.append(f'<text x="{x + 8:.1f}" y="{y + 7}" fill="#ffffff">{html.escape(text)}</text>')
            elif length:
                beside.append(text)
            x += wide
        parts.append(
            f'<text x="{x + 8:.1f}" y="{y + 7}">{total:g} s{": " if beside else ""}{" + ".join(beside)}</text>'
        )
    axis = height - 34
    parts.append(f'<line x1="{LEFT}" y1="{axis}" x2="{LEFT + WIDTH}" y2="{axis}" stroke="{GRAY}"/>')
    for second in range(0, int(longest) + 1, 10):
        x = LEFT + second * scale
        parts.append(f'<line x1="{x:.1f}" y1="{axis}" x2="{x:.1f}" y2="{axis + 5}" stroke="{GRAY}"/>')
        parts.append(f'<text x="{x:.1f}" y="{axis + 20}" text-anchor="middle" fill="{GRAY}">{second} s</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


# -- the tables --------------------------------------------------------------------------------------------------------


def settings(known: Defaults) -> Iterator[str]:
    """Yield the table of the settings that matter."""
    own = {field.name: field.default for field in dataclasses.fields(OwnSettings)}
    letters, supervisor = DeadLetters(), Settings()
    rows = [
        (
            "`--membership`",
            str(own["membership"]),
            "auto: a node comes back as the same member of a classic group, and no other node hears of its death "
            "([membership](membership.md))",
        ),
        (
            "`--first-restart-delay`",
            "as the next row" if supervisor.first_restart_delay is None else f"{supervisor.first_restart_delay:g} s",
            "how long partitions of a node that was stable wait for it; **0 is recommended**",
        ),
        (
            "`--node-restart-delay`",
            f"{supervisor.node_restart_delay:g} s",
            "how long they wait if it dies again soon, doubling each time",
        ),
        (
            "`--restart-delay-max`",
            f"{supervisor.restart_delay_max:g} s",
            "the longest delay; beyond the session, partitions go to other nodes",
        ),
        (
            "the extra `evict`",
            "not installed",
            "a successor removes the dead member first: for dynamic members and `group.protocol=consumer` "
            "([eviction](eviction.md))",
        ),
        (
            "`--progress-memory`",
            str(own["progress_memory"]),
            "auto: notes in memory that nodes share. PATH: a file on a tmpfs, which outlives the supervisor. off: a "
            "death repeats what was not committed",
        ),
        (
            "`max_messages` of a topic",
            str(known.max_messages),
            "how many records of a partition a death may repeat: the batch at work",
        ),
        (
            "`auto.commit.interval.ms`",
            f"{1000 * known.commit_s:g}",
            "how much finished work is repeated where notes do not help",
        ),
        (
            "`heartbeat.interval.ms`",
            f"{1000 * known.heartbeat_s:g}",
            "how late other members of a classic group hear of a member that left",
        ),
        (
            "`session.timeout.ms`",
            f"{1000 * known.session_s:g}",
            "how long partitions wait if no successor comes: the machine is lost. Under `group.protocol=consumer` the "
            "broker sets it",
        ),
        (
            "`DeadLetters(max_deaths=)`",
            str(letters.max_deaths),
            "how many deaths it takes until a record that kills is given up",
        ),
        (
            "`DeadLetters(hangs=)`",
            str(letters.hangs),
            "None: a hang counts as a death where there is a dead-letter topic and the topic has its own "
            "`consuming_ttl`",
        ),
    ]
    yield "| setting | default | what it decides |"
    yield "|---|---|---|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def refusals() -> Iterator[str]:
    """Yield the table of the reasons for which a note is not used."""
    yield "| the reason | an event says it | its records may be other ones now |"
    yield "|---|---|---|"
    for one in Refusal:
        told = "yes" if one.told else "no: nothing is repeated that was noted as done"
        yield f"| {one.sentence} | {told} | {'no' if one.same_records else 'yes: suspects are dropped too'} |"


def lines() -> Iterator[str]:
    """Yield a log line of each event that a death may cause."""
    place = {"topic": "orders", "partition": 3}
    samples: list[Event] = [
        TakenOver(**place, position=51240, committed=51100, node_id=1, generation=4),
        TakeOverRefused(
            **place, position=51240, committed=51100, node_id=1, generation=4, reason=Refusal.OTHER_COMMIT.sentence
        ),
        SuspectsFound(**place, first=51240, last=51339, deaths=1, reason="killed by SIGSEGV"),
        DeadLettered(
            **place, offset=51290, attempts=3, dead_letter_topic="orders-dead", error=NodeDied(3, "killed by SIGSEGV")
        ),
        PartitionParked(
            **place, offset=51290, deaths=3, retry_in_s=30.0, remedy=NO_TOPIC, error=NodeDied(3, "killed by SIGSEGV")
        ),
    ]
    yield "```"
    for one in samples:
        yield str(one)
    yield "```"
    yield ""
    yield "| event | log level | means |"
    yield "|---|---|---|"
    levels = {20: "info", 30: "warning", 40: "error"}
    for one in samples:
        meaning = (inspect.getdoc(type(one)) or "").split("\n\n")[0].replace("\n", " ")
        yield f"| `{type(one).__name__}` | {levels[one.level]} | {meaning} |"


def written(page: str, known: Defaults) -> str:
    """Return the page with its parts from the code."""
    parts = {"settings": settings(known), "refusals": refusals(), "log lines": lines()}
    for name, made in parts.items():
        begin, end = f"<!-- {name}: written by `hatch run crash-page` -->\n", f"<!-- end of {name} -->"
        head, found, rest = page.partition(begin)
        _, closed, tail = rest.partition(end)
        if not found or not closed:
            raise SystemExit(f"{PAGE.name} has no marks for {name!r}")
        page = head + begin + "\n".join(made) + "\n" + end + tail
    return page


def main() -> int:
    """Write, or compare."""
    known = defaults()
    made = {PAGE: written(PAGE.read_text(), known), PICTURE: picture(known)}
    assert FRESH_NS == 600 * 10**9, "the page says ten minutes"
    if "--check" in sys.argv[1:]:
        stale = [path.name for path, text in made.items() if not path.exists() or path.read_text() != text]
        for name in stale:
            sys.stdout.write(f"docs/{name}: run `hatch run crash-page`\n")
        return 1 if stale else 0
    for path, text in made.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
