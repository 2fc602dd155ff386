"""A watch over one runtime: what it shows now, what is remembered about it, and the verdict."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from swarm_health import NodeStatistics
from swarm_liveness._judging import memory_watch
from swarm_liveness._judging.ages import Stamps, Unit, forgive
from swarm_liveness._judging.memory_sampler import MemorySampler
from swarm_liveness._judging.node_statistics import combined_statistics
from swarm_liveness._judging.verdict import Facts, Judgement, judge
from swarm_liveness.protocols import Complaining, Observable
from swarm_liveness.settings import Limits


class Watch:
    """Watches one runtime. Can be asked from any thread."""

    def __init__(self, observable: Observable, limits: Limits, memory: MemorySampler, started: float) -> None:
        """Watch since `started` (monotonic seconds)."""
        self.limits = limits
        self._observable = observable
        self._memory = memory
        self._started = started
        self._first_seen: dict[str, float] = {}
        self._polled_since: dict[str, float] = {}
        self._forgiven: dict[Unit, float] = {}
        self.stood_still = False
        """Whether the whole process stood still until now. If so, the next judgement forgives what was in progress."""

    @property
    def phase(self) -> str:
        """The runtime's phase."""
        return self._observable.phase

    def sample_memory(self, now: float, *, only_if_pressing: bool) -> None:
        """Sample the memory if it is time to; with `only_if_pressing`, only while it is over the limit."""
        working = bool(self._observable.runs())
        self._memory.sample(self.limits, now, working=working, only_if_pressing=only_if_pressing)

    def next_sample(self) -> float | None:
        """When to sample the memory next if no batch ends before (monotonic seconds), or None."""
        return memory_watch.next_sample(self._memory.state)

    def batch_ended(self, now: float) -> bool:
        """Sample the memory between two batches; return whether the number of samples over the limit has changed."""
        return self._memory.batch_ended(self.limits, now)

    def judge(self, now: float) -> Judgement:
        """Judge the runtime at `now` (monotonic seconds)."""
        observable = self._observable
        polls = observable.polls()
        for poll in polls:
            if poll.last_poll is not None:
                self._first_seen.pop(poll.subscription_group, None)
                self._polled_since.setdefault(poll.subscription_group, now)
            else:
                self._first_seen.setdefault(poll.subscription_group, now)
        stamps = Stamps(
            phase=observable.phase,
            polls=polls,
            runs=observable.runs(),
            first_seen=self._first_seen,
            started=self._started,
            forgiven=self._forgiven,
            polled_since=self._polled_since,
        )
        if self.stood_still:
            self.stood_still = False
            self._forgiven = forgive(stamps, now)
            stamps = replace(stamps, forgiven=self._forgiven)
        facts = Facts(
            stamps=stamps,
            fatal_error=observable.fatal_error(),
            complaint=observable.complaint() if isinstance(observable, Complaining) else None,
            memory=memory_watch.finding(self._memory.state, self.limits),
        )
        return judge(facts, self.limits, now)

    def statistics(self, now: float) -> NodeStatistics:
        """The runtime's statistics with ages, memory and CPU time added."""
        numbers: Mapping[str, object] = self._observable.statistics()
        polls = self._observable.polls()
        first_seen = {poll.subscription_group: self._started for poll in polls} | self._first_seen
        return combined_statistics(
            numbers,
            polls,
            self._observable.runs(),
            self._memory.state,
            time.process_time(),
            now,
            self.limits,
            first_seen,
        )
