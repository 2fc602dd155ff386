"""Ages and verdicts as pure functions: examples that a reader can check, then properties over thousands of states."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm_health import Status
from swarm_liveness._judging.ages import PHASES, SETTLED_JOIN_STATES, Stamps, ages, forgive, poll_unit, run_unit
from swarm_liveness._judging.verdict import BLIND_AFTER_S, PRECEDENCE, Facts, Judgement, judge
from swarm_liveness.settings import Limits

OTHER_JOIN_STATES = (
    "wait-join",
    "wait-sync",
    "wait-assign-call",
    "wait-unassign-call",
    "wait-unassign-to-complete",
    "wait-incr-unassign-to-complete",
)


def judged(
    limits: Limits | None = None, now: float = 0.0, *, facts: dict[str, Any] | None = None, **stamps: Any
) -> Judgement:
    return judge(Facts(stamps=Stamps(**stamps), **(facts or {})), limits or Limits(), now)


class TestConsuming:
    def test_the_reason_names_topic_partition_offsets_age_and_setting(self, run: Any) -> None:
        verdict = judged(Limits(consuming_ttl=10), 12.34, runs=[run()]).verdict
        assert verdict.code == Status.CONSUMING
        assert (
            verdict.reason
            == "consume of flights/3 (offsets 100 to 199) has been running for 12.3 s (consuming_ttl 10 s)"
        )

    @pytest.mark.parametrize("action", ["revoked", "shutdown", "tick", "eofed", "initialized"])
    def test_other_hooks_are_judged_too_and_have_no_offsets(self, run: Any, action: str) -> None:
        stamp = run(action=action, first_offset=None, last_offset=None)
        verdict = judged(Limits(consuming_ttl=10), 10.0, runs=[stamp]).verdict
        assert verdict.code == Status.CONSUMING
        assert verdict.reason.startswith(f"{action} of flights/3 has been running for 10.0 s")

    def test_max_poll_interval_is_the_ttl_where_nobody_set_one(self, run: Any) -> None:
        stamp = run(max_poll_interval_s=60.0)
        assert judged(now=59.9, runs=[stamp]).verdict.healthy
        assert "(max.poll.interval.ms 60 s)" in judged(now=60.0, runs=[stamp]).verdict.reason

    def test_the_topics_own_ttl_wins_in_both_directions(self, run: Any) -> None:
        limits = Limits(consuming_ttl=100)
        assert judged(limits, 999.0, runs=[run(ttl_s=1000.0)]).verdict.healthy
        assert not judged(limits, 5.0, runs=[run(ttl_s=5.0)]).verdict.healthy

    def test_a_hook_that_hangs_is_named_while_stopping_too(self, run: Any) -> None:
        verdict = judged(Limits(consuming_ttl=10), 11.0, phase="stopping", runs=[run(action="shutdown")]).verdict
        assert verdict.code == Status.CONSUMING

    def test_a_fast_topic_does_not_hide_a_slow_one(self, run: Any) -> None:
        fast = run(topic="fast", started=99.9)
        slow = run(topic="slow", started=50.0)
        verdict = judged(Limits(consuming_ttl=30), 100.0, runs=[fast, slow]).verdict
        assert verdict.reason.startswith("consume of slow/3")


class TestPolling:
    def test_the_reason_names_group_and_age(self, poll: Any) -> None:
        verdict = judged(Limits(polling_ttl=5), 7.0, polls=[poll("delays", last_poll=1.0)]).verdict
        assert verdict.code == Status.POLLING
        assert verdict.reason == "subscription group 'delays' has not been polled for 6.0 s (polling_ttl 5 s)"

    def test_a_live_group_does_not_hide_a_dead_one(self, poll: Any) -> None:
        verdict = judged(
            Limits(polling_ttl=5), 10.0, polls=[poll("live", last_poll=10.0), poll("dead", last_poll=4.0)]
        ).verdict
        assert "'dead'" in verdict.reason

    def test_no_group_and_no_partition_is_healthy_and_idle(self, poll: Any) -> None:
        assert judged(now=1e6).verdict.healthy
        assert judged(now=1e6, polls=[poll(last_poll=1e6)]).verdict.healthy

    def test_a_group_never_polled_counts_from_when_it_was_first_seen(self, poll: Any) -> None:
        stamps: dict[str, Any] = {"polls": [poll(last_poll=None)], "started": 0.0, "first_seen": {"group": 50.0}}
        limits = Limits(polling_ttl=10)
        assert judged(limits, 59.9, **stamps).verdict.healthy
        assert "has been waiting for its first poll for 10.0 s" in judged(limits, 60.0, **stamps).verdict.reason

    def test_the_first_poll_may_take_a_minute_longer_while_starting(self, poll: Any) -> None:
        stamps: dict[str, Any] = {"phase": "starting", "polls": [poll(last_poll=None)]}
        limits = Limits(polling_ttl=10)
        assert judged(limits, 69.9, **stamps).verdict.healthy
        assert judged(limits, 70.0, **stamps).verdict.code == Status.POLLING

    def test_a_revocation_may_last_what_the_broker_tolerates(self, poll: Any) -> None:
        stamp = poll(join_state="wait-unassign-call", join_state_since=0.0, last_poll=0.0)
        limits = Limits(polling_ttl=10, stability_ttl=1000)
        assert judged(limits, 299.0, polls=[stamp]).verdict.healthy
        assert judged(limits, 300.0, polls=[stamp]).verdict.code == Status.POLLING
        assert judged(limits, 10.0, polls=[replace(stamp, join_state="steady")]).verdict.code == Status.POLLING

    def test_the_age_begins_again_when_the_whole_process_stood_still(self, poll: Any) -> None:
        limits = Limits(polling_ttl=10)
        forgiven = forgive(Stamps(polls=[poll()]), 1000.0)
        assert judged(limits, 1005.0, polls=[poll()], forgiven=forgiven).verdict.healthy
        assert judged(limits, 1010.0, polls=[poll()], forgiven=forgiven).verdict.code == Status.POLLING

    def test_a_poll_and_a_run_are_forgiven_once(self, poll: Any, run: Any) -> None:
        """A handler that waits with the GIL held looks like a stop: again and again it would hide a dead poll."""
        limits = Limits(polling_ttl=10, consuming_ttl=10)
        forgiven: dict[Any, float] = {}
        for now in range(2, 20, 2):
            stamps = Stamps(polls=[poll()], runs=[run(topic="slow"), run(topic="fast", started=float(now - 1))])
            forgiven = forgive(replace(stamps, forgiven=forgiven), float(now))
            verdict = judged(limits, float(now), polls=stamps.polls, runs=stamps.runs, forgiven=forgiven).verdict
            assert {finding.code for finding in verdict.findings} == (
                {Status.CONSUMING, Status.POLLING} if now >= 12 else set()
            )
        assert len(forgiven) == 3, "what is over is forgotten"
        moved = forgive(Stamps(polls=[poll(last_poll=15.0)], forgiven=forgiven), 30.0)
        assert judged(limits, 39.0, polls=[poll(last_poll=15.0)], forgiven=moved).verdict.healthy


class TestStability:
    @pytest.mark.parametrize("state", OTHER_JOIN_STATES)
    def test_an_unsteady_state_that_lasts_is_reported_with_its_name(self, poll: Any, state: str) -> None:
        stamp = poll("delays", last_poll=599.0, join_state=state, join_state_since=0.0)
        assert judged(now=599.9, polls=[stamp]).verdict.healthy
        verdict = judged(now=600.0, polls=[stamp]).verdict
        assert verdict.code == Status.STABILITY
        assert verdict.reason == (
            f"subscription group 'delays' has been in join state {state} for 600.0 s (twice max.poll.interval.ms 600 s)"
        )

    @pytest.mark.parametrize("state", sorted(SETTLED_JOIN_STATES))
    def test_a_settled_state_may_last_for_ever(self, poll: Any, state: str) -> None:
        assert judged(now=1e9, polls=[poll(last_poll=1e9, join_state=state, join_state_since=0.0)]).verdict.healthy

    def test_a_join_state_that_no_poll_has_confirmed_is_not_judged(self, poll: Any) -> None:
        """The polling thread died in the middle of a rebalance: what it last told of the group is old."""
        limits = Limits(polling_ttl=30, stability_ttl=30)
        stamp = poll(last_poll=10.0, join_state="wait-sync", join_state_since=9.0)
        assert judged(limits, 39.9, polls=[stamp]).verdict.healthy
        assert judged(limits, 40.0, polls=[stamp]).verdict.code == Status.POLLING
        assert [finding.code for finding in judged(limits, 1e6, polls=[stamp]).verdict.findings] == [Status.POLLING]
        confirmed = replace(stamp, last_poll=24.0)
        assert judged(limits, 38.9, polls=[confirmed]).verdict.healthy
        assert judged(limits, 39.0, polls=[confirmed]).verdict.code == Status.STABILITY

    def test_without_statistics_the_verdict_says_that_stability_is_not_judged(self, poll: Any) -> None:
        polls = [poll("a", 1e6, join_state=None), poll("b", 1e6), poll("c", None, join_state=None)]
        since = {"a": 1e6 - BLIND_AFTER_S, "b": 0.0}
        assert judged(now=1e6, polls=polls, polled_since=since).verdict.notes == (
            "stability of 'a' is not checked: its client has sent no statistics for 30 s (set "
            "statistics.interval.ms to a value above 0 and below 30000)",
        )

    def test_a_report_before_the_first_statistics_says_nothing(self, poll: Any) -> None:
        polls = [poll("a", 1e6, join_state=None)]
        assert judged(now=1e6, polls=polls).verdict.notes == ()
        assert judged(now=1e6, polls=polls, polled_since={"a": 1e6 - 12.0}).verdict.notes == ()


class TestFatalAndMemory:
    def test_a_fatal_client_error_is_unhealthy_at_once(self, poll: Any) -> None:
        verdict = judged(now=0.0, facts={"fatal_error": "fenced by a newer static member"}, polls=[poll()]).verdict
        assert verdict.code == Status.POLLING
        assert "fenced by a newer static member" in verdict.reason

    def test_memory_is_a_finding_but_not_while_stopping(self) -> None:
        facts = {"memory": "uss of 2 MB is over the memory_limit of 1 MB, in 3 samples in a row"}
        assert judged(facts=facts).verdict.code == Status.MEMORY
        assert judged(facts=facts, phase="stopping").verdict.healthy

    def test_what_the_application_says_itself_counts_before_what_is_found(self, poll: Any, run: Any) -> None:
        limits = Limits(polling_ttl=1, consuming_ttl=1)
        facts = {"complaint": (77, "the cache is corrupt"), "fatal_error": "fenced"}
        verdict = judged(limits, 10.0, facts=facts, polls=[poll()], runs=[run()]).verdict
        assert (verdict.code, verdict.reason) == (77, "the cache is corrupt; 3 more findings")
        assert judged(facts={"complaint": (4242, "why")}, phase="stopping").verdict.code == 4242

    def test_the_cause_comes_before_what_follows_from_it(self, poll: Any, run: Any) -> None:
        limits = Limits(polling_ttl=1, consuming_ttl=1, stability_ttl=1)
        stuck = poll(last_poll=0.9, join_state="wait-sync")
        verdict = judged(limits, 10.0, facts={"memory": "too big"}, polls=[stuck], runs=[run()]).verdict
        assert [finding.code for finding in verdict.findings] == list(PRECEDENCE)
        assert verdict.code == Status.CONSUMING
        assert verdict.reason.endswith("; 3 more findings")


def test_a_phase_that_nobody_knows_is_judged_like_running(poll: Any) -> None:
    assert judged(Limits(polling_ttl=5), 5.0, phase="dancing", polls=[poll()]).verdict.code == Status.POLLING


@pytest.mark.parametrize("phase", sorted(PHASES))
def test_quiet_is_judged_and_stopped_is_not(poll: Any, run: Any, phase: str) -> None:
    limits = Limits(polling_ttl=5, consuming_ttl=5, stability_ttl=5)
    codes = {
        age.code
        for age in ages(Stamps(phase=phase, polls=[poll(last_poll=5.0, join_state="wait-sync")], runs=[run()]), limits)
    }
    everything = {Status.POLLING, Status.CONSUMING, Status.STABILITY}
    assert codes == {"stopping": {Status.CONSUMING}, "stopped": set()}.get(phase, everything)


# Properties. Times are whole seconds, so that every comparison is exact.

SECONDS = st.integers(min_value=0, max_value=2000).map(float)
TTL = st.none() | st.integers(min_value=1, max_value=1000).map(float)
LIMITS = st.builds(Limits, polling_ttl=TTL, consuming_ttl=TTL, stability_ttl=TTL)


@st.composite
def stamps_of(draw: Any, poll: Any, run: Any) -> Stamps:
    names = draw(st.lists(st.sampled_from("abcdef"), unique=True, max_size=4))
    polls = [
        poll(
            name,
            draw(st.none() | SECONDS),
            draw(st.integers(min_value=1, max_value=1000).map(float)),
            draw(st.sampled_from((*OTHER_JOIN_STATES, *sorted(SETTLED_JOIN_STATES)))),
            draw(SECONDS),
        )
        for name in names
    ]
    runs = [
        run(topic=topic, partition=partition, started=draw(SECONDS), ttl_s=draw(TTL), max_poll_interval_s=300.0)
        for topic, partition in draw(
            st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 9)), unique=True, max_size=4)
        )
    ]
    return Stamps(
        phase=draw(st.sampled_from(sorted(PHASES))),
        polls=polls,
        runs=runs,
        first_seen={name: draw(SECONDS) for name in names},
        started=draw(SECONDS),
        forgiven={
            unit: draw(SECONDS) for unit in [*map(poll_unit, polls), *map(run_unit, runs)] if draw(st.booleans())
        },
    )


def codes(judgement: Judgement) -> list[int]:
    return [finding.code for finding in judgement.verdict.findings]


@settings(max_examples=500, deadline=None)
@given(data=st.data(), limits=LIMITS, now=SECONDS)
def test_nothing_changes_before_the_next_expiry_and_something_does_at_it(
    poll: Any, run: Any, data: Any, limits: Limits, now: float
) -> None:
    stamps = data.draw(stamps_of(poll, run))
    first = judge(Facts(stamps=stamps), limits, now)
    if first.next_expiry is None:
        assert codes(judge(Facts(stamps=stamps), limits, now + 1e9)) == codes(first)
        return
    assert first.next_expiry > now
    between = data.draw(st.floats(min_value=now, max_value=first.next_expiry, exclude_max=True))
    assert codes(judge(Facts(stamps=stamps), limits, between)) == codes(first)
    assert len(codes(judge(Facts(stamps=stamps), limits, first.next_expiry))) > len(codes(first))


@settings(max_examples=500, deadline=None)
@given(data=st.data(), limits=LIMITS, now=SECONDS)
def test_a_live_unit_never_hides_a_dead_one(poll: Any, run: Any, data: Any, limits: Limits, now: float) -> None:
    stamps = data.draw(stamps_of(poll, run))
    before = judge(Facts(stamps=stamps), limits, now)
    lively = replace(
        stamps,
        polls=[poll("live", now, 300.0, "steady", now), *stamps.polls],
        runs=[run(topic="live", started=now), *stamps.runs],
    )
    after = judge(Facts(stamps=lively), limits, now)
    assert after.verdict.findings == before.verdict.findings


@settings(max_examples=500, deadline=None)
@given(data=st.data(), limits=LIMITS, now=SECONDS)
def test_units_are_judged_one_by_one(poll: Any, run: Any, data: Any, limits: Limits, now: float) -> None:
    """The findings of all units together are those of each unit alone."""
    stamps = data.draw(stamps_of(poll, run))
    alone = [replace(stamps, polls=[one], runs=[]) for one in stamps.polls]
    alone += [replace(stamps, polls=[], runs=[one]) for one in stamps.runs]
    one_by_one = [finding for one in alone for finding in judge(Facts(stamps=one), limits, now).verdict.findings]
    together = judge(Facts(stamps=stamps), limits, now).verdict
    assert sorted(together.findings, key=repr) == sorted(one_by_one, key=repr)
    if together.findings:
        order = [PRECEDENCE.index(Status(finding.code)) for finding in together.findings]
        assert order == sorted(order)
        assert together.code == together.findings[0].code
    else:
        assert together.healthy


@settings(max_examples=500, deadline=None)
@given(data=st.data(), limits=LIMITS, now=SECONDS, later=SECONDS)
def test_time_alone_never_heals(poll: Any, run: Any, data: Any, limits: Limits, now: float, later: float) -> None:
    stamps = data.draw(stamps_of(poll, run))
    before = codes(judge(Facts(stamps=stamps), limits, now))
    after = codes(judge(Facts(stamps=stamps), limits, now + later))
    assert all(after.count(code) >= before.count(code) for code in set(before))
