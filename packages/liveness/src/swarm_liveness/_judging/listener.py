"""The reporter thread of a node: judges the stamps of other threads, beats while all is well, says at once when not."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import replace

from swarm_health import NodeStatistics, Status
from swarm_liveness._judging import container, memory_watch
from swarm_liveness._judging.ages import Stamps, Unit, forgive
from swarm_liveness._judging.health_log import HealthLog
from swarm_liveness._judging.memory import ProcessMemory
from swarm_liveness._judging.memory_sampler import MemorySampler
from swarm_liveness._judging.node_statistics import node_statistics
from swarm_liveness._judging.schedule import Schedule, dropped, turn, untold, wake_at
from swarm_liveness._judging.verdict import Facts, Finding, Judgement, Verdict, judge
from swarm_liveness.protocols import Complaining, Observable, Reporter, Telling
from swarm_liveness.settings import (
    Limits,
    LivenessSettingsError,
    MemoryMetric,
    check_against_supervisor,
    check_intervals,
    positive,
)

logger = logging.getLogger("swarm_liveness")

# A wait that ended this much later than asked, while the process used next to no CPU, means that the whole process
# stood still (SIGSTOP, a paused machine). With CPU used it was user code that held the GIL, and that is not forgiven:
# else a handler that does so again and again would hide a polling thread that is dead. One that waits with the GIL held
# cannot be told from a stop: `ages.forgive` forgives each poll and each run once.
STALL_S = 1.0
STALL_CPU_SHARE = 0.1
# After a turn that failed.
RETRY_S = 1.0
# Signals that the kernel raises for a fault of the thread itself; blocking them would only make the death silent.
FAULT_SIGNALS = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP})


class LivenessListener:
    """Judges one process: polling, consuming, stability, memory; and beats for it.

    Make it where the application is set up (before a fork is fine: nothing is opened or started), then call `start` in
    the process that works. With a reporter (a supervisor's node) a daemon thread reports; without one, `verdict` tells
    a probe of the same process.
    """

    def __init__(
        self,
        memory_limit: float | None = None,
        consuming_ttl: float | None = None,
        polling_ttl: float | None = None,
        stability_ttl: float | None = None,
        *,
        memory_metric: MemoryMetric = "uss",
        memory_share: float | None = None,
        liveness_interval: float = 10.0,
        statistics_interval: float = 1.0,
        memory_refresh: float | None = 30.0,
    ) -> None:
        """Set the limits: MB of 2^20 bytes and seconds.

        Args:
            memory_limit: MB; None: no limit.
            consuming_ttl: how long a hook may run; None: max.poll.interval.ms of its group. A topic's own TTL wins.
            polling_ttl: how long a group may go without a poll; None: its max.poll.interval.ms.
            stability_ttl: how long a group may stand in one unsteady join state; None: twice its max.poll.interval.ms.
            memory_metric: what the limit is about: "uss" (default), "pss" or "rss".
            memory_share: instead of memory_limit, the part of the container's limit (cgroup v2) that all nodes together
                may use, like 0.8; `before_fork` makes the limit of one node from it.
            liveness_interval: seconds between two beats.
            statistics_interval: seconds between two reports of statistics.
            memory_refresh: how old USS and PSS in the statistics may get while no limit needs them; None: never read
                for that.

        Raises:
            LivenessSettingsError: a value cannot work; the sentence says what to change.
        """
        self.limits = Limits(
            polling_ttl=polling_ttl,
            consuming_ttl=consuming_ttl,
            stability_ttl=stability_ttl,
            memory_limit=memory_limit,
            memory_metric=memory_metric,
        )
        check_intervals(self.limits, liveness_interval, statistics_interval)
        positive("memory_refresh", memory_refresh, "seconds", "None to read them never")
        if memory_share is not None:
            if memory_limit is not None:
                raise LivenessSettingsError("memory_limit and memory_share are both set: give one of them")
            container.node_limit_mb(1.0, memory_share, 0.0, 1)  # refuses a share that cannot be
        self.memory_share = memory_share
        self.liveness_interval = liveness_interval
        self.statistics_interval = statistics_interval
        self.memory_refresh = memory_refresh
        self._log = HealthLog()
        self._memory = MemorySampler(
            ProcessMemory(),
            memory_refresh,
            lambda: self._log.trouble(
                "memory", "the memory of this process cannot be read; memory_limit is not judged"
            ),
        )
        self._wake = threading.Condition(threading.Lock())
        self._hurry = False
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._observable: Observable | None = None
        self._reporter: Reporter | None = None
        self._started = 0.0
        self._forgiven: dict[Unit, float] = {}
        self._stood_still = False
        self._first_seen: dict[str, float] = {}
        self._polled_since: dict[str, float] = {}
        self._schedule = Schedule(beat_at=0.0, statistics_at=0.0)
        self._code_told = 0

    def before_fork(self, nodes: int = 1) -> None:
        """Settle the memory limit in the process that is going to fork, where the preload can be measured.

        A share of the container becomes a limit in MB, the preload subtracted; without a container limit there is none,
        which is logged. A process that forks nothing calls `without_fork`.

        Raises:
            LivenessSettingsError: memory_limit by rss is not above this process's own RSS, or no room is left.
        """
        with ProcessMemory() as memory:
            rss_mb = memory.rss_mb()
        self.limits = container.limits_with_share(self.limits, self.memory_share, rss_mb, nodes)
        check_against_supervisor(self.limits, rss_mb)

    def without_fork(self) -> None:
        """Settle the memory limit of a process that works itself: it has what it loads to itself, and shares nothing.

        Raises:
            LivenessSettingsError: memory_share cannot be.
        """
        self.limits = container.limits_with_share(self.limits, self.memory_share, 0.0, 1)

    def start(self, observable: Observable, reporter: Reporter | None = None) -> None:
        """Watch the runtime from now on; with a reporter, beat from a daemon thread. In the node, after the fork.

        Raises:
            RuntimeError: it was started before and not stopped.
        """
        if self._observable is not None:
            raise RuntimeError("this LivenessListener watches a runtime already: stop() it first")
        self._observable = observable
        self._reporter = reporter
        self._started = time.monotonic()
        self._stood_still = False
        for known in (self._forgiven, self._first_seen, self._polled_since):
            known.clear()
        self._memory.begin()
        self._stopping = self._hurry = False
        observable.after_batch(self._batch_ended)
        if isinstance(observable, Telling):
            observable.after_state(self._look_now)
        self._memory.sample(self.limits, self._started, working=False)
        if reporter is not None:
            self._thread = threading.Thread(target=self._run, name="swarm-liveness", daemon=True)
            self._thread.start()

    def stop(self, timeout: float = 1.0) -> None:
        """End the reporter thread, waiting at most `timeout` seconds for it; report the last figures. Idempotent."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
            if not self._thread.is_alive():  # what was done since its last report would be missing from every sum
                self._report_statistics(time.monotonic())
        self._thread = self._observable = self._reporter = None
        self._memory.close()

    def verdict(self, now: float | None = None) -> Verdict:
        """What the process is at `now` (monotonic seconds; None: at this moment). Healthy while nothing is watched."""
        verdict = self._judge(time.monotonic() if now is None else now).verdict
        thread = self._thread
        if thread is not None and not thread.is_alive() and not self._stopping:
            # Nothing that this process runs ends that thread: whoever probes must not take its silence for health.
            ended = Finding(Status.POLLING, "the thread that reports the health of this process has ended")
            return Verdict(ended.code, ended.reason, (ended, *verdict.findings), verdict.notes)
        return verdict

    def statistics(self, now: float | None = None) -> NodeStatistics:
        """The runtime's statistics with ages, memory and CPU time added."""
        now = time.monotonic() if now is None else now
        observable = self._observable
        if observable is None:
            return NodeStatistics()
        memory = self._memory.state
        numbers: Mapping[str, object] = observable.statistics()
        polls = observable.polls()
        first_seen = {poll.subscription_group: self._started for poll in polls} | self._first_seen
        return node_statistics(
            numbers, polls, observable.runs(), memory, time.process_time(), now, self.limits, first_seen
        )

    # What follows runs in the reporter thread, but for _batch_ended.

    def _run(self) -> None:
        # A signal that the kernel hands to this thread would not interrupt the main thread's wait, and Python handlers
        # run in the main thread only: leave every signal to it.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - FAULT_SIGNALS)
        now = time.monotonic()
        self._schedule = Schedule(beat_at=now, statistics_at=now)
        self._code_told = 0
        while True:
            try:
                deadline = self._take_turn(now)
            except BaseException:  # noqa: BLE001  whatever it was: a thread that is gone can say nothing any more
                self._log.trouble(
                    "turn", "the health of this process cannot be reported; it is tried again each second"
                )
                deadline = now + RETRY_S
            cpu = time.process_time()
            if self._wait(deadline):
                return
            now = time.monotonic()
            late = now - deadline
            self._stood_still = late >= STALL_S and time.process_time() - cpu < STALL_CPU_SHARE * late

    def _take_turn(self, now: float) -> float:
        """Judge, and report what is due; until when to wait then."""
        judgement: Judgement | None = None
        state: str | None = None
        pressing_only = now < self._schedule.statistics_at
        try:
            state = self._state()
            self._memory.sample(self.limits, now, working=self._works(), only_if_pressing=pressing_only)
            judgement = self._judge(now)
        except BaseException:  # noqa: BLE001  the runtime is a stranger: whatever it raises, this thread goes on
            self._log.trouble("judge", "the liveness of this process cannot be judged; it does not beat meanwhile")
        todo = turn(self._schedule, judgement, now, self.liveness_interval, self.statistics_interval, state)
        if todo.beat and judgement is not None:
            code = judgement.verdict.code
            first, self._code_told = code != self._code_told, code
            if self._beat(judgement.verdict, first=first):
                self._schedule = todo.schedule
            else:
                self._schedule = dropped(todo.schedule)
        else:
            self._schedule = todo.schedule
        if todo.statistics and not self._report_statistics(now):
            self._schedule = untold(self._schedule)
        return wake_at(self._schedule, judgement, memory_watch.next_sample(self._memory.state))

    def _wait(self, deadline: float) -> bool:
        """Wait until the deadline or until something asks for a look; True when it is time to end."""
        with self._wake:
            while not self._stopping and not self._hurry:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._wake.wait(left)
            self._hurry = False
            return self._stopping

    def _beat(self, verdict: Verdict, *, first: bool) -> bool:
        """Report the verdict; False when the report was dropped."""
        reporter = self._reporter
        if reporter is None:
            return True
        # Before the report: it is answered by a TERM, and what hangs now may be gone then.
        self._log.verdict(verdict, first=first)
        if verdict.healthy:
            return reporter.healthy()
        return reporter.unhealthy(verdict.code, verdict.reason)

    def _report_statistics(self, now: float) -> bool:
        """Report the statistics; False when they were dropped."""
        reporter = self._reporter
        if reporter is None:
            return True
        try:
            statistics = self.statistics(now)
        except BaseException:  # noqa: BLE001  as above: its numbers must not cost its health
            self._log.trouble("statistics", "the statistics of this process cannot be read; its health is still judged")
            return True
        try:
            return reporter.report(statistics)
        except BaseException:  # noqa: BLE001  more partitions than a report holds: without this thread the node is silent
            self._log.trouble("report", "the statistics cannot be reported; it goes on without partitions")
            statistics.partitions = []
            with contextlib.suppress(BaseException):
                return reporter.report(statistics)
            return True

    def _judge(self, now: float) -> Judgement:
        observable = self._observable
        if observable is None:
            return Judgement(Verdict(), None)
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
        if self._stood_still:
            self._stood_still = False
            self._forgiven = forgive(stamps, now)
            stamps = replace(stamps, forgiven=self._forgiven)
        facts = Facts(
            stamps=stamps,
            fatal_error=observable.fatal_error(),
            complaint=observable.complaint() if isinstance(observable, Complaining) else None,
            memory=memory_watch.finding(self._memory.state, self.limits),
        )
        return judge(facts, self.limits, now)

    def _batch_ended(self) -> None:
        """In the thread that worked: memory between two batches is what a process keeps."""
        with contextlib.suppress(BaseException):  # the thread is the runtime's own: nothing of ours may end it
            if self._observable is not None and self._memory.batch_ended(self.limits, time.monotonic()):
                self._look_now()

    def _look_now(self) -> None:
        """In any thread: have the reporter thread take a turn."""
        with self._wake:
            self._hurry = True
            self._wake.notify_all()

    def _state(self) -> str | None:
        observable = self._observable
        return None if observable is None else observable.phase

    def _works(self) -> bool:
        observable = self._observable
        return observable is not None and bool(observable.runs())
