"""The pure parts of the operations: rates, figures, keys, the picture of `top`, memory, what counts as done."""

import logging
import time
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_cli.commands.quiet import _is_quiet
from swarm_cli.commands.restart import asked_nodes, failure, obstacle, renewed
from swarm_cli.commands.scale import scaled
from swarm_cli.commands.trace import traceable
from swarm_cli.errors import CommandError, UsageError
from swarm_cli.following import Following
from swarm_cli.memory_report import MemoryReport, Process, process_of, rollup
from swarm_cli.rates import WINDOW_S, Rate
from swarm_cli.top_state import Order, TopState, Trace, press
from swarm_cli.views import event_lines
from swarm_cli.views.figures import Sum, brief, duration, megabytes, percent, plural, printable, summed
from swarm_cli.views.keys import keys
from swarm_cli.views.memory import sentences
from swarm_cli.views.status import headline, row
from swarm_cli.views.table import Column, fitted_lines, plain_lines
from swarm_cli.views.top import columns_for, picture
from swarm_cli.views.work import row as work_row
from swarm_cli.views.work import work
from swarm_health import Accounts, NodeStatistics, PartitionStatistics, TopicStatistics
from swarm_liveness import MemorySample
from swarm_supervisor import NodeSnapshot, Snapshot
from swarm_supervisor.events import every_event


def node(id_: int = 0, **changes: Any) -> NodeSnapshot:
    values: dict[str, Any] = {
        "id": id_, "generation": 1, "pid": 1000 + id_, "state": "running", "uptime_s": 5.0, "restarts": 0,
        "last_report_age_s": 0.5, "status": 0, "reason": "first start", "last_exit": "", "crash_loop": False,
        "restart_in_s": None, "spare_pid": None, "spare_state": "", "statistics": None,
    }  # fmt: skip
    return NodeSnapshot(**values | changes)


def swarm(*nodes: NodeSnapshot, **changes: Any) -> Snapshot:
    accounts = Accounts()
    for one in nodes:
        if one.statistics is not None:
            accounts.take(one.id, one.generation, one.statistics, 0.0)
            one.totals = accounts.node(one.id)
            if one.pid is None:
                accounts.ended(one.id, one.generation, 1.0)
    values: dict[str, Any] = {
        "pid": 999, "name": "flights", "state": "running", "reason": "", "wanted": len(nodes), "running": len(nodes),
        "uptime_s": 60.0, "restarts": 0, "rolling_restart": False, "listener_errors": 0, "nodes": list(nodes),
        "totals": accounts.total(), "topics": accounts.topics(), "partitions": accounts.partitions(4.0),
    }  # fmt: skip
    return Snapshot(**values | changes)


def top(snapshot: Snapshot, **changes: Any) -> TopState:
    sample = MemorySample(100.0, 14.0, 40.0)
    return TopState(snapshot, lambda pid: 0.5, lambda pid: sample if pid else None, **changes)


class TestRates:
    def test_one_sample_is_no_rate(self) -> None:
        rate = Rate()
        assert rate.per_second(0) is None
        rate.add(1, 10.0, 100)
        assert rate.per_second(10.0) is None

    def test_the_rate_is_over_the_window(self) -> None:
        rate = Rate()
        for second in range(20):
            rate.add(1, second, 10 * second if second < 10 else 90 + 50 * (second - 9))
        assert rate.per_second(19.0) == pytest.approx(50)

    def test_another_process_starts_anew(self) -> None:
        rate = Rate()
        rate.add(1, 0.0, 1000)
        rate.add(1, 1.0, 1100)
        rate.add(2, 2.0, 5)
        assert rate.per_second(2.0) is None
        rate.add(2, 3.0, 25)
        assert rate.per_second(3.0) == 20

    def test_silence_is_no_rate(self) -> None:
        rate = Rate()
        rate.add(1, 0.0, 0)
        rate.add(1, 1.0, 10)
        assert rate.per_second(1.0 + WINDOW_S) == 10
        assert rate.per_second(1.1 + WINDOW_S) is None

    def test_seldom_samples_keep_their_rate_until_the_next_is_overdue(self) -> None:
        rate = Rate()
        rate.add(1, 0.0, 0)
        rate.add(1, 30.0, 300)
        assert rate.per_second(59.0) == 10
        assert rate.per_second(121.0) is None

    @given(st.lists(st.tuples(st.integers(1, 2), st.floats(0, 1e6), st.floats(0, 1e9)), max_size=30))
    def test_a_rate_is_never_negative(self, samples: list[tuple[int, float, float]]) -> None:
        rate = Rate()
        for life, at, counter in samples:
            rate.add(life, at, counter)
        now = max((at for _, at, _ in samples), default=0.0)
        assert (rate.per_second(now) or 0.0) >= 0


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (duration(None), "-"), (duration(0.34), "0.3 s"), (duration(59.9), "59 s"), (duration(60), "1 m 00 s"),
        (duration(3600 * 2 + 61), "2 h 01 m"), (duration(86400 * 3 + 3600), "3 d 01 h"),
        (megabytes(None), "-"), (megabytes(14.04), "14.0"), (megabytes(99.96), "100"), (megabytes(1234.5), "1,234"),
        (brief(None), "-"), (brief(0), "0"), (brief(0.44), "0.4"), (brief(7), "7"), (brief(12345), "12,345"),
        (brief(123456), "123k"), (brief(999_600), "1M"), (brief(4.567e6), "4.57M"), (brief(123e6), "123M"),
        (brief(12.34e9), "12.3G"), (brief(5e12), "5T"),
        (percent(None), "-"), (percent(0.505), "50%"), (plural(1, "node"), "1 node"), (plural(2, "node"), "2 nodes"),
        (printable("a\x1b[31mb\nc"), "a\N{REPLACEMENT CHARACTER}[31mb c"), (printable("a\nb", lines=True), "a\nb"),
    ],
)  # fmt: skip
def test_figures(shown: str, expected: str) -> None:
    assert shown == expected


@given(st.floats(0, 1e15))
def test_a_brief_figure_fits_its_column(amount: float) -> None:
    assert len(brief(amount)) <= 7


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (b"q", ["q"]), (b"\x1b[A\x1b[B", ["up", "down"]), (b"\x1bOA", ["up"]), (b"\x1b", ["escape"]),
        (b"\x1b[5~\x1b[6~r", ["page up", "page down", "r"]), (b"\x1b[1;5Cq", ["q"]), (b"\xc3\xa9y", ["y"]),
        (b"\r\n", ["enter", "enter"]), (b"\x1b[", []), (b"", []), (b"\x00\x7fz", ["z"]),
    ],
)  # fmt: skip
def test_keys(typed: bytes, expected: list[str]) -> None:
    assert list(keys(typed)) == expected


@given(st.binary(max_size=50))
def test_whatever_is_typed_ends(typed: bytes) -> None:
    assert len(list(keys(typed))) <= len(typed)


class TestKeysOfTop:
    THREE = swarm(node(0), node(1), node(2))

    @pytest.mark.parametrize(
        ("pressed", "order"),
        [
            (["r", "y"], Order("restart", 0)),
            (["down", "r", "y"], Order("restart", 1)),
            (["j", "j", "j", "k", "r", "enter"], Order("restart", 1)),
            (["end", "z", "y"], Order("quiet", 2)),
            (["home", "up", "t"], Order("trace", 0)),
            (["R", "y"], Order("restart")),
            (["Z", "Y"], Order("quiet")),
            (["+", "y"], Order("scale", nodes=4)),
            (["-", "y"], Order("scale", nodes=2)),
            (["q"], Order("quit")),
            (["escape"], Order("quit")),
            (["r", "n", "x"], None),
            (["r", "q"], None),
            (["?"], None),
        ],
    )
    def test_what_they_order(self, pressed: list[str], order: Order | None) -> None:
        state = top(self.THREE)
        done = [press(state, key) for key in pressed]
        assert done[:-1] == [None] * (len(done) - 1)
        assert done[-1] == order
        assert state.asking is None

    def test_the_last_node_is_not_scaled_away(self) -> None:
        state = top(swarm(node(0)))
        assert press(state, "-") is None
        assert state.asking is None

    def test_the_selection_moves_when_its_node_goes(self) -> None:
        state = top(self.THREE, selected=2)
        state.take(swarm(node(0), node(1)))
        assert state.selected == 1
        state.take(swarm())
        assert press(state, "r") is None
        assert state.asking is None

    def test_stacks_are_scrolled_within_bounds_and_left(self) -> None:
        state = top(self.THREE, page=10, trace=Trace(0, "\n".join(f"line {number}" for number in range(25))))
        assert state.trace is not None
        state.trace.fold(80)
        for key, begin in (("up", 0), ("down", 1), ("page down", 11), (" ", 15), ("end", 15), ("home", 0)):
            assert press(state, key) is None
            assert state.trace.top == begin
        assert press(state, "q") is None
        assert state.trace is None

    def test_long_lines_of_stacks_are_folded_not_cut(self) -> None:
        trace = Trace(0, "a" * 95 + "\n\nb")
        trace.fold(40)
        assert trace.lines == ["a" * 40, "a" * 40, "a" * 15, "", "b"]


def cells(text: str) -> int:
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )


STATISTICS = NodeStatistics(
    state="running", messages=5, in_flight_age_s=0.3,
    partitions=[
        PartitionStatistics("a", 0, lag=70, group="g"), PartitionStatistics("a", 1, group="g"),
        PartitionStatistics("b", 0, lag=7, group="g"),
    ],
    topics=[TopicStatistics("g", "a", messages=5, errors=2)],
)  # fmt: skip


def elsewhere(*lags: int) -> NodeStatistics:
    """What a node tells that has partitions of its own."""
    rows = [PartitionStatistics("c", number, lag=lag, group="g") for number, lag in enumerate(lags)]
    return NodeStatistics(state="running", partitions=rows)


class TestPicture:
    @pytest.mark.parametrize("width", [1, 20, 79, 80, 120, 200])
    @pytest.mark.parametrize("height", [1, 3, 5, 24, 60])
    @pytest.mark.parametrize("count", [0, 1, 3, 64])
    @pytest.mark.parametrize("reading", [False, True])
    def test_it_has_the_size_that_was_asked_for(self, width: int, height: int, count: int, reading: bool) -> None:
        troubled = {
            "state": "backing off",
            "last_exit": "killed by SIGKILL\n\x1b[2Jö中文" * 9,
            "pid": None,
            "statistics": STATISTICS,
        }
        nodes = [node(id_, **(troubled if id_ % 2 else {})) for id_ in range(count)]
        state = top(swarm(*nodes, state="degraded", reason="x" * 300), selected=max(0, count - 1))
        state.events.extend((f"event {number} 中文" * 20, logging.ERROR) for number in range(50))
        if reading:
            state.trace = Trace(0, "frame\n" * 100)
            state.trace.fold(width)
        shown = picture(state, width, height)
        assert len(shown) == height
        assert all(cells(line.text) <= width and line.text.isprintable() for line in shown)

    @pytest.mark.parametrize("width", [80, 100, 200])
    def test_the_selected_node_and_the_keys_are_always_there(self, width: int) -> None:
        for selected in range(64):
            state = top(swarm(*(node(id_, last_exit="killed") for id_ in range(64))), selected=selected)
            state.events.extend((f"event {number}", logging.INFO) for number in range(50))
            shown = picture(state, width, 24)
            chosen = [line for line in shown if line.style.startswith("selected")]
            assert [line.text.split()[0] for line in chosen] == [str(selected)]
            assert shown[-1].text.endswith("q quit")
            assert sum("event" in line.text for line in shown) >= 3

    def test_80_columns_hold_what_matters_and_200_everything(self) -> None:
        narrow = [column.title for column in columns_for(80)]
        wide = [column.title for column in columns_for(200)]
        assert {"NODE", "STATE", "CPU", "USS MB", "PSS MB", "MSG/S", "LAG", "FLIGHT", "RESTARTS"} <= set(narrow)
        assert {*narrow, "UP", "RSS MB", "BEAT"} == set(wide)

    def test_a_node_that_does_not_report_shows_what_is_measured(self) -> None:
        told = NodeStatistics(uss_mb=1.0, pss_mb=2.0, rss_mb=3.0)
        state = TopState(swarm(node(0, statistics=told)), lambda pid: None, lambda pid: None)
        assert " 1.0 " in picture(state, 80, 24)[4].text
        state = top(swarm(node(0)))
        assert "50%   14.0   40.0" in picture(state, 80, 24)[4].text

    def test_totals(self) -> None:
        state = top(swarm(node(0, statistics=elsewhere(7, 70)), node(1, statistics=elsewhere(7, 70, 77))), now=1.0)
        for second in (0.0, 1.0):
            state.reported(0, 1, second, int(100 * second))
            state.reported(1, 1, second, int(50 * second))
        text = picture(state, 80, 24)[1].text
        assert text == "CPU 100%  USS 28.0 MB  PSS 80.0 MB  150 msg/s  lag 154  in flight -"

    def test_a_sum_says_that_it_leaves_something_out(self) -> None:
        assert summed(Sum.of([None, None])) == summed(Sum.of([])) == "-"
        assert summed(Sum.of([70, None, 7])) == "≥77"
        assert summed(Sum.of([70, 7])) == "77"
        state = top(swarm(node(0, statistics=STATISTICS), node(1)), now=1.0)
        state.reported(0, 1, 0.0, 0)
        state.reported(0, 1, 1.0, 100)
        assert "≥100 msg/s  lag ≥77" in picture(state, 80, 24)[1].text

    def test_a_node_without_a_process_has_no_rate(self) -> None:
        state = top(swarm(node(0), node(1)), now=1.0)
        for second in (0.0, 1.0):
            state.reported(0, 1, second, int(182 * second))
            state.reported(1, 1, second, int(10 * second))
        assert "192 msg/s" in picture(state, 80, 24)[1].text
        state.take(swarm(node(0, pid=None, state="backing off"), node(1)))
        shown = picture(state, 80, 24)
        assert "  10 msg/s" in shown[1].text, "the dead one is not unknown: it does nothing"
        assert "182" not in "".join(line.text for line in shown)
        state.take(swarm(node(0, generation=2), node(1)))
        assert "≥10 msg/s" in picture(state, 80, 24)[1].text, "the new process has no figures yet"

    @pytest.mark.parametrize("height", [24, 45])
    @pytest.mark.parametrize("count", [1, 64])
    def test_the_group_that_is_behind_is_shown_under_its_name(self, height: int, count: int) -> None:
        billing = [PartitionStatistics("orders", 0, lag=0, lag_s=0.0, group="billing", messages=50)]
        audit = [PartitionStatistics("orders", 0, lag=46004, lag_s=75.0, group="audit", errors=4)]
        told = NodeStatistics(
            partitions=billing + audit,
            topics=[TopicStatistics("billing", "orders", messages=50), TopicStatistics("audit", "orders", errors=4)],
        )
        state = top(swarm(*(node(id_, statistics=told if id_ == 0 else None) for id_ in range(count))))
        state.events.extend((f"event {number}", logging.INFO) for number in range(50))
        lines = [line.text.split() for line in picture(state, 80, height)]
        assert ["audit", "orders", "46,004", "1", "m", "15", "s", "-", "4", "0"] in lines
        assert ["billing", "orders", "0", "0.0", "s", "-", "0", "50"] in lines
        assert sum("event" in line for line in lines) >= 3

    @pytest.mark.parametrize("width", [60, 80, 100, 200])
    def test_long_names_give_way_to_figures_and_a_missing_owner_is_seen(self, width: int) -> None:
        row = PartitionStatistics("numbers-9c7520ce15-" * 3, 0, lag=46004, group="readers-eecc49be82-" * 3)
        state = top(swarm(node(0, pid=None, state="backing off", statistics=NodeStatistics(partitions=[row]))))
        texts = [line.text for line in picture(state, width, 24)]
        begin = next(number for number, text in enumerate(texts) if text.startswith("GROUP"))
        assert {"LAG", "OLDEST", "OWNER"} <= set(texts[begin].split())
        names, _, rest = texts[begin + 1].partition("46,004")
        assert names.startswith("reader")
        assert "numb" in names
        assert rest.split()[1] == "1", "partitions without an owner"
        assert ("without owner for 3.0 s: 0" in rest) == (width == 200)

    def test_topics_beyond_the_room_are_counted(self) -> None:
        rows = [PartitionStatistics(f"topic{number}", 0, lag=number, group="g") for number in range(90)]
        shown = picture(top(swarm(node(0, statistics=NodeStatistics(partitions=rows)))), 80, 24)
        texts = [line.text for line in shown]
        begin = next(number for number, text in enumerate(texts) if text.startswith("GROUP"))
        assert "topic89" in texts[begin + 1], "the furthest behind comes first"
        more = next(text for text in texts if text.startswith("and "))
        assert sum("topic" in text for text in texts[begin:]) + int(more.split()[1]) == 90

    def test_a_supervisor_that_is_silent_is_said_to_be(self) -> None:
        state = top(swarm(node(0)), silent_s=4.2)
        assert any("has not answered for 4.2 s" in line.text for line in picture(state, 80, 24))


class TestEventLines:
    def test_an_event_of_a_later_version_is_shown_as_it_is(self) -> None:
        event = {"event": "Teleported", "at": time.monotonic(), "node_id": 3}
        assert event_lines.noteworthy(event)
        assert event_lines.line(event).endswith("Teleported: node_id 3")
        assert event_lines.line({"event": "NodeExited", "at": 1.0, "strange": True}).endswith(
            "NodeExited: strange True"
        )

    def test_lost_events_are_told(self) -> None:
        assert "7 events were dropped" in event_lines.text({"event": "Dropped", "at": 1.0, "count": 7})

    def test_a_text_cannot_command_the_terminal(self) -> None:
        event = {"event": "ErrorOccurred", "at": 1.0, "where": "x", "error": "\x1b]0;owned\x07"}
        assert not {"\x1b", "\x07"} & set(event_lines.line(event))

    def test_the_daily_round_is_not_noteworthy(self) -> None:
        quiet = {name for name in every_event() if not event_lines.noteworthy({"event": name})}
        assert {"Controlled", "NodeReported"} <= quiet
        assert not {"NodeExited", "CrashLoop", "NodeRestarting", "Stopped", "StacksDumped"} & quiet


class TestDone:
    """What the commands wait for."""

    BEFORE = swarm(node(0), node(1, generation=4))

    def test_all_running_nodes_are_renewed(self) -> None:
        asked = asked_nodes(self.BEFORE, None)
        assert not renewed(asked, self.BEFORE)
        assert not renewed(asked, swarm(node(0, generation=2), node(1, generation=4)))
        assert not renewed(asked, swarm(node(0, generation=2), node(1, generation=5, state="booting")))
        assert not renewed(asked, swarm(node(0, generation=2), node(1, generation=5), rolling_restart=True))
        assert renewed(asked, swarm(node(0, generation=2), node(1, generation=5)))
        assert renewed(asked, swarm(node(0, generation=2)))  # the other one was scaled away
        assert renewed(asked, swarm(node(0, generation=2), node(1, generation=4, state="done")))

    def test_a_node_that_waits_is_renewed_by_its_start(self) -> None:
        before = swarm(node(0, generation=3, state="backing off", pid=None))
        assert renewed(asked_nodes(before, 0), swarm(node(0, generation=3)))

    def test_a_node_that_was_done_is_renewed_by_a_new_process_only(self) -> None:
        before = swarm(node(0, generation=3, state="done", pid=None))
        assert not renewed(asked_nodes(before, 0), before)
        assert renewed(asked_nodes(before, 0), swarm(node(0, generation=4, state="done")))

    def test_there_is_no_such_node(self) -> None:
        with pytest.raises(UsageError, match="there are 0, 1"):
            asked_nodes(self.BEFORE, 2)

    def test_where_no_node_runs_nothing_is_restarted_or_traced_and_that_is_said(self) -> None:
        """As while a start waits for Kafka: "0 nodes restarted" and no line at all looked like a success."""
        waits = swarm(node(0, state="backing off", pid=None), state="starting", running=0)
        with pytest.raises(CommandError, match=r"no node is running, .* the swarm is starting"):
            asked_nodes(waits, None)
        with pytest.raises(CommandError, match="no node has a process now; the swarm is starting"):
            traceable(waits, None)

    def test_an_aborted_replacement_is_a_failure_of_those_asked_for(self) -> None:
        asked = asked_nodes(self.BEFORE, 1)
        aborted = {"event": "ReplacementAborted", "node_id": 1, "reason": "its spare died"}
        assert "failed at node 1" in failure(aborted, asked)
        assert failure(aborted | {"node_id": 0}, asked) == ""
        assert failure({"event": "RolloutFinished"}, asked) == ""

    @pytest.mark.parametrize(
        ("now", "done"),
        [
            (swarm(node(0), node(1), wanted=2), True),
            (swarm(node(0), node(1), wanted=3), False),
            (swarm(node(0), node(1), node(2, state="stopping"), wanted=2), False),
            (swarm(node(0), node(1, state="booting"), wanted=2), False),
            (swarm(node(0), node(1, state="done"), wanted=2), True),
        ],
    )
    def test_scaled(self, now: Snapshot, done: bool) -> None:
        assert scaled(2, now) is done

    def test_quiet_although_degraded(self) -> None:
        quiet, busy = NodeStatistics(state="quiet"), NodeStatistics(state="quieting")
        gone = node(1, state="backing off", pid=None)
        assert _is_quiet(swarm(state="quiet"))
        assert _is_quiet(swarm(node(0, statistics=quiet), gone, state="degraded"))
        assert not _is_quiet(swarm(node(0, statistics=busy), gone, state="degraded"))
        assert not _is_quiet(swarm(node(0, statistics=quiet), state="running"))
        assert not _is_quiet(swarm(node(0, statistics=busy), state="starting"))

    def test_quiet_before_the_first_node(self) -> None:
        """`quiet` waited for a state that a start that waits for Kafka never has, and timed out."""
        assert _is_quiet(swarm(node(0, state="backing-off", pid=None), state="starting"))


def shown_row(one: NodeSnapshot) -> tuple[str, ...]:
    return row(one, swarm(one))


class TestStatusTable:
    def test_a_node_in_trouble_says_all_of_it(self) -> None:
        shown = shown_row(
            node(0, state="backing off", pid=None, status=3, reason="uss 900 MB", last_exit="killed\nby 9",
                 crash_loop=True, restart_in_s=4.0, spare_state="warming", spare_pid=7)
        )  # fmt: skip
        assert shown[-1] == (
            "uss 900 MB; crash loop; starts in 4.0 s; its successor (pid 7) is warming; before: killed by 9"
        )
        assert shown[2:4] == ("-", "-")

    def test_a_node_that_is_well_has_no_remark(self) -> None:
        assert shown_row(node(0, statistics=STATISTICS))[-1] == ""
        assert shown_row(node(0, statistics=STATISTICS))[8] == "≥77"

    def test_the_headline(self) -> None:
        text = headline(swarm(node(0), state="degraded", reason="node 0 is in a crash loop", rolling_restart=True))
        assert text == (
            "flights (pid 999): degraded, 1 of 1 node healthy, up 1 m 00 s, 0 restarts, 0 messages handled, "
            "rolling restart in progress. "
            "node 0 is in a crash loop"
        )

    def test_the_state_is_the_one_of_every_view(self) -> None:
        from swarm_cli.views.status import state
        from swarm_liveness.checks import shown_state

        for process in ("running", "stopping", "backing off", "booting"):
            for phase in (None, "", "running", "quiet", "starting"):
                told = None if phase is None else NodeStatistics(state=phase)
                assert state(node(0, state=process, statistics=told)) == shown_state(
                    node(0, state=process, statistics=told)
                )

    def test_messages_survive_the_process_that_handled_them(self) -> None:
        """ "Did I lose them?": after a restart they were 0."""
        dead = swarm(node(0, statistics=STATISTICS, pid=None, state="backing off"))
        assert "5 messages handled" in headline(dead)
        assert row(dead.nodes[0], dead)[6] == "5"

    def test_topics_of_a_group_are_told_with_their_lag_and_without_an_owner(self) -> None:
        alive = [work_row(one) for one in work(swarm(node(0, statistics=STATISTICS)))]
        assert alive == [("g", "a", "2", "≥70", "-", "5", "2", ""), ("g", "b", "1", "7", "-", "0", "0", "")]
        dead = work(swarm(node(0, statistics=STATISTICS, pid=None, state="backing off")))
        assert [work_row(one)[3:8:4] for one in dead] == [
            ("≥70", "2 partitions without owner for 3.0 s: 0, 1"),
            ("7", "1 partition without owner for 3.0 s: 0"),
        ]

    def test_a_plain_table_cuts_nothing(self) -> None:
        lines = plain_lines((Column("A", figures=True), Column("B")), [("1", "x" * 200), ("22222", "y")])
        assert lines == ["    A  B", f"    1  {'x' * 200}", "22222  y"]

    @given(st.integers(1, 250), st.lists(st.tuples(*[st.text(max_size=12)] * 4), max_size=6))
    def test_a_table_on_a_terminal_keeps_figures_whole(self, width: int, rows: list[tuple[str, ...]]) -> None:
        columns = (Column("ID", figures=True), Column("RSS", figures=True, rank=2), Column("PID", figures=True, rank=1),
                   Column("REMARK"))  # fmt: skip
        lines = fitted_lines(columns, rows, width)
        shown = lines[0][0].split()
        assert "ID" in shown
        assert ("RSS" in shown) <= ("PID" in shown)
        assert {number for _, number in lines if number is not None} == set(range(len(rows)))
        if "PID" in shown:  # else there is nothing left to drop, and the terminal folds
            assert all(len(line) <= width for line, number in lines if number is None)
        joined = "\n".join(line for line, _ in lines)
        for cells_of_row in rows:
            for cell, column in zip(cells_of_row, columns, strict=True):
                if column.title in (*shown, "REMARK"):
                    assert cell.rstrip() in joined

    def test_status_at_80_columns_puts_remarks_below(self) -> None:
        from swarm_cli.views.status import COLUMNS

        rows = [shown_row(node(0, statistics=STATISTICS, last_exit="killed by SIGKILL", restarts=1, uptime_s=7300))]
        lines = [line for line, _ in fitted_lines(COLUMNS, rows, 80)]
        assert all(len(line) <= 80 for line in lines)
        assert lines[2] == "      before: killed by SIGKILL"
        assert "MESSAGES" in lines[0]
        assert "RESTARTS" in lines[0]
        assert len(fitted_lines(COLUMNS, rows, 200)) == 2


ROLLUP = b"""563a6783b000-7fffc7579000 ---p 00000000 00:00 0                          [rollup]
Rss:              102400 kB
Pss:               51200 kB
Pss_Anon:          40960 kB
Pss_File:           8192 kB
Pss_Shmem:          2048 kB
Private_Clean:      1024 kB
Private_Dirty:     19456 kB
Private_Hugetlb:       0 kB
Anonymous:         81920 kB
"""


class TestMemory:
    def test_a_rollup(self) -> None:
        process = process_of("node", 3, 77, rollup(ROLLUP))
        assert (process.rss_mb, process.pss_mb, process.uss_mb, process.anonymous_mb) == (100, 50, 20, 80)
        assert process.file_pss_mb == 10
        assert process.shared == 0.8

    def report(self, **changes: Any) -> MemoryReport:
        def one(role: str, id_: int | None, anonymous: float) -> Process:
            return Process(
                role, id_, 1, rss_mb=anonymous + 20, pss_mb=50, uss_mb=20, anonymous_mb=anonymous, file_pss_mb=5
            )

        return MemoryReport([one("supervisor", None, 60.0), one("node", 0, 80.0), one("node", 1, 70.0)], **changes)

    def test_the_estimate_gives_each_process_its_anonymous_memory(self) -> None:
        report = self.report()
        assert (report.total_mb, report.shared_mb, report.shared) == (150, 90, 0.6)
        assert report.separate_mb == 15 + 80 + 70
        assert report.saved_mb == 15
        assert "2 separate processes would use about 165 MB: 15.0 MB (9%) saved." in sentences(report)

    def test_the_measure_stands_in_for_what_was_inherited(self) -> None:
        report = self.report(fresh_mb=100.0)
        assert report.separate_mb == 15 + 2 * 100 + (80 - 60) + (70 - 60)
        assert "Measured:" in sentences(report)[-1]

    def test_without_a_node_nothing_is_compared(self) -> None:
        """It said that "0 separate processes would use about 3.3 MB"."""
        alone = MemoryReport([one for one in self.report().processes if one.role == "supervisor"])
        assert sentences(alone)[1:] == ["No node has a process now: there is nothing to compare with."]

    def test_no_saving_is_said_to_be_none(self) -> None:
        assert "the swarm uses 30.0 MB more" in sentences(self.report(fresh_mb=37.5))[1]


class TestWhatARestartWaitsFor:
    """`restart 0` printed nothing for 35 s while another node was stopping."""

    def test_another_node_that_is_down_is_named_until_the_round_begins(self) -> None:
        before = swarm(node(0), node(1, state="stopping"))
        asked = asked_nodes(before, 0)
        assert obstacle(asked, before) == (
            "node 0 waits for node 1 (stopping): a restart takes down at most max_unavailable nodes at once"
        )
        assert obstacle(asked, swarm(node(0), node(1))) == ""
        assert obstacle(asked, swarm(node(0, spare_pid=7, spare_state="warming"), node(1, state="booting"))) == ""
        assert obstacle(asked, swarm(node(0, generation=2), node(1, state="stopping"))) == ""
        assert obstacle(asked, swarm(node(0), node(1, state="done"))) == ""
        assert obstacle(asked, swarm(node(0), node(1, state="stopping"), wanted=1)) == "", "it is scaled away"

    def test_it_is_told_once_and_not_for_a_moment(self) -> None:
        waits = swarm(node(0), node(1, state="stopping"))
        looks = [waits, swarm(node(0), node(1)), waits, waits, waits, swarm(node(0, generation=2), node(1))]

        class Client:
            def status(self) -> Snapshot:
                return looks.pop(0)

            def events(self, for_s: float) -> list[Any]:
                return []

        said: list[str] = []
        following: Any = object.__new__(Following)
        following.client = following._events = Client()
        following._tell, following._note = said.append, said.append
        asked = asked_nodes(waits, 0)
        following.until(lambda now: renewed(asked, now), 60.0, "it", waiting=lambda now: obstacle(asked, now))
        assert said == [obstacle(asked, waits)]
        assert looks == []
