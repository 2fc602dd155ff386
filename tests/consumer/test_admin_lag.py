"""Lag, without a cluster: how far a group is behind, whatever it has committed and retention has deleted."""

from hypothesis import given
from hypothesis import strategies as st

from swarm_consumer.admin import GroupLag, PartitionOffsets


@st.composite
def partitions(draw: st.DrawFn) -> PartitionOffsets:
    start = draw(st.integers(0, 50))
    return PartitionOffsets(
        topic=draw(st.sampled_from(["orders", "refunds"])), partition=draw(st.integers(0, 99)),
        committed=draw(st.none() | st.integers(0, 120)), start=start, end=draw(st.integers(start, 100)),
    )  # fmt: skip


@given(found=st.lists(partitions(), max_size=6), initial=st.sampled_from(["earliest", "latest", "error"]))
def test_lag_is_what_is_left_to_read(found: list[PartitionOffsets], initial: str) -> None:
    lag = GroupLag("billing", found, {"orders": initial})
    for one in found:
        behind = lag.of(one)
        assert 0 <= behind <= one.end - one.start
        if one.committed is not None and one.start <= one.committed <= one.end:
            assert behind == one.end - one.committed
        if one.committed is None:
            assert behind == (0 if one.topic == "orders" and initial == "latest" else one.end - one.start)
    assert lag.total == sum(map(lag.of, found))
