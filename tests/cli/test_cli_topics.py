"""The plan for topics as JSON: each change once, with what came of it."""

from hypothesis import given
from hypothesis import strategies as st

from swarm_cli.views.topics import as_data
from swarm_consumer.admin import TopicState, plan_topics
from swarm_consumer.routing import DeclaredTopic

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


@given(declared=declarations, present=clusters)
def test_a_plan_says_each_thing_in_one_line_and_as_data(
    declared: list[DeclaredTopic], present: dict[str, TopicState]
) -> None:
    plan = plan_topics(declared, present)
    failures = dict.fromkeys(range(0, len(plan.changes), 2), "no")
    data = as_data(plan, failures, made=True)
    assert [told["made"] for told in data["changes"]] == [told["error"] is None for told in data["changes"]]
    assert [told["error"] for told in data["changes"]].count("no") == len(failures)
    assert not any(told["made"] for told in as_data(plan, {}, made=False)["changes"])
    for change, told in zip(plan.changes, data["changes"], strict=True):
        assert "\n" not in str(change)
        assert change.name in str(change)
        assert (told["action"], told["topic"]) == (change.action, change.name)
    assert len(plan.only("create").changes) == sum(change["action"] == "create" for change in data["changes"])
    assert plan.only("create").notes == plan.notes
