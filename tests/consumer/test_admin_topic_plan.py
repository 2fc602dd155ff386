"""The plan for topics, without a cluster: what is to be done, what never is, and that nothing is left after it."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_consumer.admin import (
    AddPartitions,
    ConfigureTopic,
    CreateTopic,
    DeleteTopic,
    TopicPlan,
    TopicState,
    plan_deletions,
    plan_topics,
)
from swarm_consumer.admin.topic_plan import means_the_same
from swarm_consumer.routing.declared_topics import DeclaredTopic

names = st.sampled_from(["a", "b", "c", "d"])
configs = st.dictionaries(st.sampled_from(["retention.ms", "cleanup.policy"]), st.sampled_from(["1", "2", "compact"]))
declarations = st.dictionaries(names, st.tuples(st.integers(1, 5), st.none() | st.integers(1, 3), configs)).map(
    lambda found: [
        DeclaredTopic(name=name, partitions=partitions, replication=replication, config=config)
        for name, (partitions, replication, config) in found.items()
    ]
)
clusters = st.dictionaries(
    names, st.builds(TopicState, partitions=st.integers(1, 5), replication=st.integers(1, 3), config=configs)
)


def carried_out(plan: TopicPlan, present: Mapping[str, TopicState]) -> dict[str, TopicState]:
    """What the cluster is like after the plan."""
    after = dict(present)
    for change in plan.changes:
        match change:
            case CreateTopic(topic):
                assert topic.name not in after
                after[topic.name] = TopicState(
                    partitions=topic.partitions, replication=topic.replication or 1, config=topic.config
                )
            case AddPartitions(name, before, wanted):
                state = after[name]
                assert state.partitions == before < wanted
                after[name] = TopicState(partitions=wanted, replication=state.replication, config=state.config)
            case ConfigureTopic(name, values):
                state = after[name]
                config = {**state.config, **{key: value for key, (_, value) in values.items()}}
                after[name] = TopicState(partitions=state.partitions, replication=state.replication, config=config)
            case DeleteTopic(name):
                del after[name]
    return after


@given(declared=declarations, present=clusters)
def test_after_a_plan_nothing_is_left_and_nothing_has_shrunk(
    declared: list[DeclaredTopic], present: dict[str, TopicState]
) -> None:
    plan = plan_topics(declared, present)
    after = carried_out(plan, present)
    assert plan_topics(declared, after).changes == []
    assert all(after[name].partitions >= state.partitions for name, state in present.items())
    known = {topic.name for topic in declared}
    assert {name: after[name] for name in present if name not in known} == {
        name: state for name, state in present.items() if name not in known
    }
    assert after.keys() == present.keys() | known


@given(declared=declarations, present=clusters)
def test_only_what_is_declared_and_there_is_deleted(
    declared: list[DeclaredTopic], present: dict[str, TopicState]
) -> None:
    after = carried_out(plan_deletions(declared, present), present)
    assert after == {name: state for name, state in present.items() if name not in {topic.name for topic in declared}}


@given(declared=declarations, present=clusters)
def test_a_plan_says_each_thing_in_one_line(declared: list[DeclaredTopic], present: dict[str, TopicState]) -> None:
    plan = plan_topics(declared, present)
    for change in plan.changes:
        assert "\n" not in str(change)
        assert change.name in str(change)
    assert len(plan.only("create").changes) == sum(change.action == "create" for change in plan.changes)
    assert plan.only("create").notes == plan.notes


@pytest.mark.parametrize(
    ("now", "wanted", "equal"),
    [
        ("1", "1", True),
        ("0.5", "0.50", True),
        ("604800000", "604800000.0", True),
        ("compact,delete", "delete, compact", True),
        ("compact", "delete", False),
        ("compact,delete", "compact", False),
        (None, "1", False),
        ("", "x", False),
        ("true", "True", False),
    ],
)
def test_values_that_mean_the_same_are_the_same(now: str | None, wanted: str, equal: bool) -> None:
    assert means_the_same(now, wanted) is equal


def test_what_is_never_changed_is_said() -> None:
    plan = plan_topics(
        [DeclaredTopic(name="a", partitions=2, replication=3)], {"a": TopicState(partitions=4, replication=1)}
    )
    assert plan.changes == []
    assert [note.partition(":")[0] for note in plan.notes] == [
        "a has 4 partitions and 2 are declared", "a has replication 1 and 3 is declared",
    ]  # fmt: skip
