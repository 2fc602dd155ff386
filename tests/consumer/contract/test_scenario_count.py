"""The contract suite counts itself: its scenarios, on which brokers they run, and that each looks at the broker."""

import ast
from pathlib import Path

HERE = Path(__file__).parent
BOTH = {"cluster", "world"}
REAL_ONLY = {"kafka_cluster", "real_world", "kafka_broker"}
# How a scenario looks at the broker: a function of the test kit, or a method of the fixture that stands for it. The
# same words on anything else (a journal's values, a batch's records) are no look at a broker.
FUNCTIONS = {"await_committed", "committed_offsets", "end_offsets", "read_all"}
METHODS = {"committed", "await_committed", "ends", "end", "values", "records", "read"}

# What the suite must have in any case.
NAMED = {
    "one, two, four, three nodes under load": "test_one_two_four_three_nodes_under_load_hand_over_exactly",
    "kill -9 in the middle of a batch": (
        "test_after_a_kill_in_the_middle_of_a_batch_everything_is_handled_and_only_the_uncommitted_twice"
    ),
    "broker restart": "test_a_broker_that_goes_away_and_comes_back_costs_no_record",
    "coordinator change": "test_a_coordinator_that_changes_keeps_progress",
    "long handler": "test_a_long_running_handler_outlasts_the_poll_interval_and_keeps_its_partitions",
    "poison message": "test_a_poison_message_goes_to_the_dead_letters_with_its_story_and_order_is_kept",
    "revoke while retrying": "test_a_partition_that_fails_is_taken_over_at_its_first_unmarked_record",
    "seek": "test_a_seek_back_gives_the_records_again_and_progress_follows",
    "pattern": "test_a_pattern_finds_topics_that_exist_and_one_that_appears",
    "stop before the start": "test_stop_before_run_ends_at_once_and_touches_nothing",
    "stop while starting": "test_stop_right_after_the_start_ends_cleanly_and_leaves_everything",
    "stop while running": "test_stop_waits_for_the_batch_in_hand_and_commits_it",
    "stop during a back-off": "test_stop_does_not_wait_for_a_back_off",
    "stop during a pause": "test_stop_does_not_wait_for_a_pause",
    "stop during a rebalance": "test_stop_during_a_rebalance_ends_and_the_others_get_everything",
    "stop during a long handler": "test_a_batch_that_outlives_the_drain_is_not_committed_and_comes_again",
    "stop while quieting": "test_stop_while_quieting_lets_the_batch_in_hand_finish",
    "stop while quiet": "test_stop_of_a_quiet_node_commits_and_leaves",
    "stop with the broker away": "test_a_stop_without_a_broker_ends_in_time_and_the_work_is_done_again_later",
}


def looks_of(node):
    """Every call in a function that asks the broker."""
    calls = [each.func for each in ast.walk(node) if isinstance(each, ast.Call)]
    return {
        ast.unparse(function) for function in calls
        if (isinstance(function, ast.Name) and function.id in FUNCTIONS)
        or (isinstance(function, ast.Attribute) and function.attr in METHODS and isinstance(function.value, ast.Name)
            and function.value.id in BOTH | REAL_ONLY)
    }  # fmt: skip


def called_in(node):
    """Names of plain functions that a function names: helpers of its file among them."""
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def scenarios():
    """Name -> (parameters, every look at the broker, those of the helpers of its file included)."""
    found = {}
    for path in [*HERE.glob("test_scenarios_*.py"), *HERE.parent.glob("test_contract_*.py")]:
        functions = {node.name: node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
        for name, node in functions.items():
            if not name.startswith("test_"):
                continue
            assert name not in found, f"{name} is there twice"
            helpers = [functions[helper] for helper in called_in(node) & functions.keys()]
            looks = set().union(*(looks_of(one) for one in [node, *helpers]))
            found[name] = ({argument.arg for argument in node.args.args}, looks)
    return found


def test_a_scenario_that_looks_only_at_what_the_runtime_says_is_blind():
    blind = ast.parse("def test_x(cluster):\n    node = cluster.app()\n    assert journal.values == [1]\n    end = 3")
    assert not looks_of(blind)
    assert looks_of(ast.parse("assert cluster.values(topic) == [b'1']")) == {"cluster.values"}


def test_the_suite_is_as_large_as_it_says_and_every_scenario_asserts_what_the_broker_holds():
    all_of_them = scenarios()
    real = {name for name, (parameters, _) in all_of_them.items() if parameters & REAL_ONLY}
    both = {name for name, (parameters, _) in all_of_them.items() if parameters & BOTH} - real
    assert len(both) >= 80
    assert len(real) <= 15
    assert set(NAMED.values()) <= both
    blind = {name for name, (_, looks) in all_of_them.items() if not looks}
    assert not blind
    documented = (HERE.parents[2] / "docs" / "contract.md").read_text()
    faults = len(all_of_them) - len(both) - len(real)
    assert f"{len(both)} scenarios run unchanged on both" in " ".join(documented.split())
    assert f"{len(real)} run on the real one only, {faults} on the embedded one only" in " ".join(documented.split())
    for what, name in NAMED.items():
        assert f"| {what} | `{name}` |" in documented
