"""The contract suite counts itself: its scenarios, on which brokers they run, and that each looks at the broker."""

import ast
from pathlib import Path

HERE = Path(__file__).parent
BOTH = {"cluster", "world"}
REAL_ONLY = {"kafka_cluster", "real_world", "kafka_broker"}
LOOKS_AT_THE_BROKER = {
    "committed", "await_committed", "committed_offsets", "ends", "end", "end_offsets", "values", "records", "read",
    "read_all",
}  # fmt: skip

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


def words_of(node):
    return {each.attr if isinstance(each, ast.Attribute) else each.id for each in ast.walk(node)
            if isinstance(each, ast.Attribute | ast.Name)}  # fmt: skip


def scenarios():
    """Name -> (parameters, every name it uses, those of the helpers of its file included)."""
    found = {}
    for path in [*HERE.glob("test_scenarios_*.py"), *HERE.parent.glob("test_contract_*.py")]:
        functions = {node.name: node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
        words = {name: words_of(node) for name, node in functions.items()}
        for name, node in functions.items():
            if not name.startswith("test_"):
                continue
            assert name not in found, f"{name} is there twice"
            used = words[name].union(*(words[helper] for helper in words[name] & functions.keys()))
            found[name] = ({argument.arg for argument in node.args.args}, used)
    return found


def test_the_suite_is_as_large_as_it_says_and_every_scenario_asserts_what_the_broker_holds():
    all_of_them = scenarios()
    real = {name for name, (parameters, _) in all_of_them.items() if parameters & REAL_ONLY}
    both = {name for name, (parameters, _) in all_of_them.items() if parameters & BOTH} - real
    assert len(both) >= 80
    assert len(real) <= 15
    assert set(NAMED.values()) <= both
    blind = {name for name, (_, used) in all_of_them.items() if not used & LOOKS_AT_THE_BROKER}
    assert not blind
    documented = (HERE.parents[2] / "docs" / "contract.md").read_text()
    faults = len(all_of_them) - len(both) - len(real)
    assert f"{len(both)} scenarios run unchanged on both" in " ".join(documented.split())
    assert f"{len(real)} run on the real one only, {faults} on the embedded one only" in " ".join(documented.split())
    for what, name in NAMED.items():
        assert f"| {what} | `{name}` |" in documented
