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
from swarm_liveness import container, memory_watch
from swarm_liveness.ages import Stamps
from swarm_liveness.memory import ProcessMemory
from swarm_liveness.memory_watch import MemorySample, MemoryState
from swarm_liveness.node_statistics import node_statistics
from swarm_liveness.protocols import Complaining, Observable, Reporter, Telling
from swarm_liveness.schedule import Schedule, dropped, turn, untold, wake_at
from swarm_liveness.settings import (
    Limits,
    LivenessSettingsError,
    MemoryMetric,
    check_against_supervisor,
    check_intervals,
)
from swarm_liveness.stacks import stacks
from swarm_liveness.verdict import Facts, Judgement, Verdict, judge

logger = logging.getLogger("swarm_liveness")

# A wait that ended this much later than asked, while the process used next to no CPU, means that the whole process
# stood still (SIGSTOP, a paused machine). With CPU used it was user code that held the GIL, and that is not forgiven:
# else a handler that does so again and again would hide a polling thread that is dead.
STALL_S = 1.0
STALL_CPU_SHARE = 0.1
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
        if memory_share is not None:
            if memory_limit is not None:
                raise LivenessSettingsError("memory_limit and memory_share are both set: give one of them")
            container.node_limit_mb(1.0, memory_share, 0.0, 1)  # refuses a share that cannot be
        self.memory_share = memory_share
        self.liveness_interval = liveness_interval
        self.statistics_interval = statistics_interval
        self.memory_refresh = memory_refresh
        self._memory_source = ProcessMemory()
        self._memory = MemoryState()
        # Held for a reading of memory (at most some milliseconds), never while the runtime's own code runs.
        self._memory_lock = threading.Lock()
        self._wake = threading.Condition(threading.Lock())
        self._hurry = False
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._observable: Observable | None = None
        self._reporter: Reporter | None = None
        self._started = 0.0
        self._resumed: float | None = None
        self._first_seen: dict[str, float] = {}
        self._told: set[str] = set()

    def before_fork(self, nodes: int = 1) -> None:
        """Settle the memory limit in the process that is going to fork, where the preload can be measured.

        A share of the container becomes a limit in MB, the preload subtracted; without a container limit there is none,
        which is logged. One process that forks nothing calls this too, with nodes=1.

        Raises:
            LivenessSettingsError: memory_limit by rss is not above this process's own RSS, or no room is left.
        """
        with ProcessMemory() as memory:
            rss_mb = memory.rss_mb()
        if self.memory_share is not None:
            container_mb = container.container_limit_mb()
            if container_mb is None:
                logger.warning("memory_share is set, but no cgroup v2 limits this process: memory is not judged")
                return
            metric = self.limits.memory_metric
            limit = container.node_limit_mb(container_mb, self.memory_share, rss_mb, nodes, metric)
            self.limits = replace(self.limits, memory_limit=limit)
            logger.info("memory_limit of each of %d nodes is %.0f MB by %s", nodes, limit, metric)
        check_against_supervisor(self.limits, rss_mb)

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
        self._resumed = None
        self._first_seen.clear()
        self._memory = MemoryState()
        self._stopping = self._hurry = False
        observable.after_batch(self._batch_ended)
        if isinstance(observable, Telling):
            observable.after_state(self._look_now)
        self._sample_memory(self._started)
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
        with self._memory_lock:
            self._memory_source.close()

    def verdict(self, now: float | None = None) -> Verdict:
        """What the process is at `now` (monotonic seconds; None: at this moment). Healthy while nothing is watched."""
        return self._judge(time.monotonic() if now is None else now).verdict

    def statistics(self, now: float | None = None) -> NodeStatistics:
        """The runtime's statistics with ages, memory and CPU time added."""
        now = time.monotonic() if now is None else now
        observable = self._observable
        if observable is None:
            return NodeStatistics()
        with self._memory_lock:
            memory = self._memory
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
        schedule = Schedule(beat_at=now, statistics_at=now)
        told = 0
        while True:
            judgement: Judgement | None = None
            state: str | None = None
            try:
                state = self._state()
                self._sample_memory(now, only_if_pressing=now < schedule.statistics_at)
                judgement = self._judge(now)
            except Exception:  # noqa: BLE001  the runtime is a stranger: whatever it raises, this thread goes on
                self._tell_once("judge", "the liveness of this process cannot be judged; it does not beat meanwhile")
            todo = turn(schedule, judgement, now, self.liveness_interval, self.statistics_interval, state)
            schedule = todo.schedule
            if todo.beat and judgement is not None:
                code = judgement.verdict.code
                if not self._beat(judgement.verdict, first=code != told):
                    schedule = dropped(schedule)
                told = code
            if todo.statistics and not self._report_statistics(now):
                schedule = untold(schedule)
            deadline = wake_at(schedule, judgement, memory_watch.next_sample(self._memory))
            cpu = time.process_time()
            if self._wait(deadline):
                return
            now = time.monotonic()
            late = now - deadline
            if late >= STALL_S and time.process_time() - cpu < STALL_CPU_SHARE * late:
                self._resumed = now

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
        for note in verdict.notes:
            if note not in self._told:
                self._told.add(note)
                logger.warning("%s", note)
        if verdict.healthy:
            return reporter.healthy()
        logger.error("unhealthy (%d): %s", verdict.code, "; ".join(finding.reason for finding in verdict.findings))
        if first and verdict.code in (Status.CONSUMING, Status.POLLING):
            # Before the report: it is answered by a TERM, and what hangs now may be gone then.
            for text in stacks():
                logger.error("%s", text)
        return reporter.unhealthy(verdict.code, verdict.reason)

    def _report_statistics(self, now: float) -> bool:
        """Report the statistics; False when they were dropped."""
        reporter = self._reporter
        if reporter is None:
            return True
        try:
            statistics = self.statistics(now)
        except Exception:  # noqa: BLE001  as above: its numbers must not cost its health
            self._tell_once("statistics", "the statistics of this process cannot be read; its health is still judged")
            return True
        try:
            return reporter.report(statistics)
        except Exception:  # noqa: BLE001  more partitions than a report holds: without this thread the node is silent
            self._tell_once("report", "the statistics cannot be reported; it goes on without partitions")
            statistics.partitions = []
            with contextlib.suppress(Exception):
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
            else:
                self._first_seen.setdefault(poll.subscription_group, now)
        stamps = Stamps(
            phase=observable.phase,
            polls=polls,
            runs=observable.runs(),
            first_seen=self._first_seen,
            started=self._started,
            resumed=self._resumed,
        )
        facts = Facts(
            stamps=stamps,
            fatal_error=observable.fatal_error(),
            complaint=observable.complaint() if isinstance(observable, Complaining) else None,
            memory=memory_watch.finding(self._memory, self.limits),
        )
        return judge(facts, self.limits, now)

    def _batch_ended(self) -> None:
        """In the thread that worked: memory between two batches is what a process keeps."""
        if self._observable is None:
            return
        before = self._memory.over
        self._sample_memory(time.monotonic())
        if self._memory.over != before:
            self._look_now()

    def _look_now(self) -> None:
        """In any thread: have the reporter thread take a turn."""
        with self._wake:
            self._hurry = True
            self._wake.notify_all()

    def _state(self) -> str | None:
        observable = self._observable
        return None if observable is None else observable.phase

    def _sample_memory(self, now: float, *, only_if_pressing: bool = False) -> None:
        # Another thread that is sampling at this moment does it for us.
        if not self._memory_lock.acquire(blocking=False):
            return
        try:
            state = self._memory
            if not memory_watch.due(state, now) or (only_if_pressing and state.over == 0):
                return
            sample = MemorySample(self._memory_source.rss_mb())
            price = 0.0
            if memory_watch.wants_exact(state, sample.rss_mb, self.limits, self.memory_refresh, now):
                # Of the processor: on a busy machine a wait for it would put off the next reading for seconds.
                begun = time.thread_time()
                exact = self._memory_source.exact()
                price = time.thread_time() - begun
                sample = replace(exact, rss_mb=sample.rss_mb)
            self._memory = memory_watch.add(state, sample, self.limits, now, price)
        except OSError:
            self._tell_once("memory", "the memory of this process cannot be read; memory_limit is not judged")
        finally:
            self._memory_lock.release()

    def _tell_once(self, what: str, sentence: str) -> None:
        if what not in self._told:
            self._told.add(what)
            logger.exception("%s", sentence)
