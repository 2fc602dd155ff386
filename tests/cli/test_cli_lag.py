"""Lag as JSON: the sum of a group is that of its partitions."""

from hypothesis import given
from hypothesis import strategies as st

from swarm_cli.views.lag import as_data
from swarm_consumer.admin import GroupLag, PartitionOffsets


@st.composite
def partitions(draw: st.DrawFn) -> PartitionOffsets:
    start = draw(st.integers(0, 50))
    return PartitionOffsets(
        topic=draw(st.sampled_from(["orders", "refunds"])), partition=draw(st.integers(0, 99)),
        committed=draw(st.none() | st.integers(0, 120)), start=start, end=draw(st.integers(start, 100)),
    )  # fmt: skip


@given(found=st.lists(partitions(), max_size=6), initial=st.sampled_from(["earliest", "latest", "error"]))
def test_the_lag_of_a_group_is_the_sum_over_its_partitions(found: list[PartitionOffsets], initial: str) -> None:
    lag = GroupLag("billing", found, {"orders": initial})
    data = as_data(lag)
    assert data["lag"] == sum(one["lag"] for one in data["partitions"]) == lag.total
