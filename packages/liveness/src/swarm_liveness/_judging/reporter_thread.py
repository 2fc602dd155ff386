"""The reporter thread of a node: it sends heartbeats, and reports at once when something is wrong."""

from __future__ import annotations

import contextlib
import threading
import time

from swarm_liveness._judging.health_log import HealthLog
from swarm_liveness._judging.schedule import Schedule, dropped, state_dropped, turn, wake_at
from swarm_liveness._judging.verdict import Judgement, Verdict
from swarm_liveness._judging.watch import Watch
from swarm_liveness._threads import leave_signals_to_main_thread
from swarm_liveness.protocols import Reporter

# If a wait ended this much too late while the process used almost no CPU, the whole process stood still (SIGSTOP, a
# paused machine). If it used CPU, user code held the GIL. That is not forgiven: otherwise a handler that does so again
# and again would hide a dead polling thread. A handler that waits while it holds the GIL looks like a stop, so
# `ages.forgive` forgives each poll and each run only once.
STALL_S = 1.0
STALL_CPU_SHARE = 0.1
# How long to wait after a turn that failed.
RETRY_S = 1.0


class ReporterThread:
    """A daemon thread that checks a runtime and reports. No error of runtime, reporter or log handler ends it."""

    def __init__(
        self, watch: Watch, reporter: Reporter, log: HealthLog, liveness_interval: float, statistics_interval: float
    ) -> None:
        """Prepare the thread; it does not run yet. Intervals are in seconds."""
        self._watch = watch
        self._reporter = reporter
        self._log = log
        self._liveness_interval = liveness_interval
        self._statistics_interval = statistics_interval
        self._wake = threading.Condition(threading.Lock())
        self._hurry = False
        self._stopping = False
        self._left_behind = False
        self._schedule = Schedule(beat_at=0.0, statistics_at=0.0)
        self._last_code = 0
        self._thread = threading.Thread(target=self._run, name="swarm-liveness", daemon=True)

    @property
    def gone(self) -> bool:
        """Whether the thread has ended without being stopped."""
        return not self._thread.is_alive() and not self._stopping

    def start(self) -> None:
        """Start to report."""
        self._thread.start()

    def look_now(self) -> None:
        """Make the thread take a turn at once. From any thread."""
        with self._wake:
            self._hurry = True
            self._wake.notify_all()

    def stop(self, timeout: float) -> None:
        """Stop the thread, wait at most `timeout` seconds for it, and report the last figures."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread is threading.current_thread():
            return
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._left_behind = True  # it hangs in the runtime's own code, and must not report any more
        else:  # otherwise every sum would lack what was done since its last report
            self._report_statistics(time.monotonic())

    def _run(self) -> None:
        leave_signals_to_main_thread()
        now = time.monotonic()
        self._schedule = Schedule(beat_at=now, statistics_at=now)
        self._last_code = 0
        while True:
            try:
                deadline = self._take_turn(now)
            except BaseException:  # noqa: BLE001  if this thread ended, nothing would be reported any more
                self._log.trouble("turn", "cannot report the health of this process; trying again every second")
                deadline = now + RETRY_S
            cpu = time.process_time()
            if self._wait(deadline):
                return
            now = time.monotonic()
            late = now - deadline
            self._watch.stood_still = late >= STALL_S and time.process_time() - cpu < STALL_CPU_SHARE * late

    def _take_turn(self, now: float) -> float:
        """Check the runtime, report what is due, and return when the next turn is."""
        judgement: Judgement | None = None
        state: str | None = None
        pressing_only = now < self._schedule.statistics_at
        try:
            state = self._watch.phase
            self._watch.sample_memory(now, only_if_pressing=pressing_only)
            judgement = self._watch.judge(now)
        except BaseException:  # noqa: BLE001  a runtime may raise anything, and this thread must continue
            self._log.trouble(
                "judge", "cannot check the liveness of this process; no heartbeat is sent until it can be checked"
            )
        todo = turn(self._schedule, judgement, now, self._liveness_interval, self._statistics_interval, state)
        if todo.beat and judgement is not None:
            code = judgement.verdict.code
            first, self._last_code = code != self._last_code, code
            if self._beat(judgement.verdict, first=first):
                self._schedule = todo.schedule
            else:
                self._schedule = dropped(todo.schedule)
        else:
            self._schedule = todo.schedule
        if todo.statistics and not self._report_statistics(now):
            self._schedule = state_dropped(self._schedule)
        return wake_at(self._schedule, judgement, self._watch.next_sample())

    def _wait(self, deadline: float) -> bool:
        """Wait until the deadline or until `look_now`; return whether the thread should stop."""
        with self._wake:
            while not self._stopping and not self._hurry:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._wake.wait(left)
            self._hurry = False
            return self._stopping

    def _beat(self, verdict: Verdict, *, first: bool) -> bool:
        """Report the verdict; False if the report was dropped."""
        if self._left_behind:
            return True
        # Log before the report: the answer is a TERM, after which what hangs may be gone.
        self._log.verdict(verdict, first=first)
        if verdict.healthy:
            return self._reporter.healthy()
        return self._reporter.unhealthy(verdict.code, verdict.reason)

    def _report_statistics(self, now: float) -> bool:
        """Report the statistics; False if they were dropped."""
        if self._left_behind:
            return True
        try:
            statistics = self._watch.statistics(now)
        except BaseException:  # noqa: BLE001  as above: bad numbers must not stop the health reports
            self._log.trouble("statistics", "cannot read the statistics of this process; its health is still checked")
            return True
        try:
            return self._reporter.report(statistics)
        except BaseException:  # noqa: BLE001  more partitions than a report can hold must not end this thread
            self._log.trouble("report", "cannot report the statistics; reporting them without partitions")
            statistics.partitions = []
            with contextlib.suppress(BaseException):
                return self._reporter.report(statistics)
            return True
