"""Positions: what their texts mean, and where a partition goes, without a cluster."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_consumer.admin import AdminError, Move, PartitionOffsets, Position


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("earliest", Position("earliest")),
        ("latest", Position("latest")),
        ("0", Position("offset", 0)),
        ("17", Position("offset", 17)),
        ("+5", Position("relative", 5)),
        ("-5", Position("relative", -5)),
        ("1970-01-01T00:00:01Z", Position("time", 1000)),
        ("1970-01-01T01:00:01+01:00", Position("time", 1000)),
        ("2026-11-21T06:00Z", Position("time", 1_795_240_800_000)),
    ],
)
def test_each_form_is_understood(text: str, position: Position) -> None:
    assert Position.parse(text) == position


@pytest.mark.parametrize(
    "text", ["", "first", "1.5", "--5", "5h", "2026-11-21", "2026-11-21T06:00", "1969-12-31T00:00Z"]
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(AdminError):
        Position.parse(text)


def test_a_day_without_a_zone_is_refused_with_what_to_write() -> None:
    with pytest.raises(AdminError, match="write 2026-11-21T00:00Z for UTC"):
        Position.parse("2026-11-21")


@st.composite
def partitions(draw: st.DrawFn) -> PartitionOffsets:
    start = draw(st.integers(0, 100))
    end = draw(st.integers(start, 200))
    committed = draw(st.none() | st.integers(0, 300))
    return PartitionOffsets(
        topic="orders", partition=draw(st.integers(0, 9)), committed=committed, start=start, end=end
    )


@given(
    partition=partitions(),
    word=st.sampled_from(["earliest", "latest", "offset", "relative", "time"]),
    number=st.integers(-300, 300),
    at_time=st.none() | st.integers(0, 300),
)
def test_a_move_ends_within_what_is_there_and_says_when_it_could_not_be_met(
    partition: PartitionOffsets, word: str, number: int, at_time: int | None
) -> None:
    position = Position(word, number)  # type: ignore[arg-type]
    try:
        move = partition.moved_to(position, at_time)
    except AdminError:
        assert word == "relative"
        assert partition.committed is None
        return
    assert isinstance(move, Move)
    assert partition.start <= move.after <= partition.end
    assert move.before == partition.committed
    assert move.changes is (move.after != partition.committed)
    wanted = {
        "earliest": partition.start, "latest": partition.end, "offset": number,
        "relative": (partition.committed or 0) + number, "time": partition.end if at_time is None else at_time,
    }[word]  # fmt: skip
    assert (move.after == wanted) or move.note == f"{wanted} does not exist"
    if word == "time" and at_time is None:
        assert move.note == "no record after that time"
