"""The thread of a node that reports: it beats while all is well, and says at once when something is not."""

from __future__ import annotations

import contextlib
import threading
import time

from swarm_liveness._judging.health_log import HealthLog
from swarm_liveness._judging.schedule import Schedule, dropped, turn, untold, wake_at
from swarm_liveness._judging.verdict import Judgement, Verdict
from swarm_liveness._judging.watch import Watch
from swarm_liveness._threads import leave_signals_to_main_thread
from swarm_liveness.protocols import Reporter

# A wait that ended this much later than asked, while the process used next to no CPU, means that the whole process
# stood still (SIGSTOP, a paused machine). With CPU used it was user code that held the GIL, and that is not forgiven:
# else a handler that does so again and again would hide a polling thread that is dead. One that waits with the GIL held
# cannot be told from a stop: `ages.forgive` forgives each poll and each run once.
STALL_S = 1.0
STALL_CPU_SHARE = 0.1
# After a turn that failed.
RETRY_S = 1.0


class ReporterThread:
    """A daemon thread that judges a runtime and reports, whatever the runtime, the reporter or the log raises."""

    def __init__(
        self, watch: Watch, reporter: Reporter, log: HealthLog, liveness_interval: float, statistics_interval: float
    ) -> None:
        """Nothing runs yet. The intervals are in seconds."""
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
        self._code_told = 0
        self._thread = threading.Thread(target=self._run, name="swarm-liveness", daemon=True)

    @property
    def gone(self) -> bool:
        """Whether the thread has ended although nobody stopped it."""
        return not self._thread.is_alive() and not self._stopping

    def start(self) -> None:
        """Begin to report."""
        self._thread.start()

    def look_now(self) -> None:
        """Take a turn at once. From any thread."""
        with self._wake:
            self._hurry = True
            self._wake.notify_all()

    def stop(self, timeout: float) -> None:
        """End the thread, waiting at most `timeout` seconds for it, and report the last figures."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread is threading.current_thread():
            return
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._left_behind = True  # it waits in the runtime's own code, and has nothing to report any more
        else:  # what was done since its last report would be missing from every sum
            self._report_statistics(time.monotonic())

    def _run(self) -> None:
        leave_signals_to_main_thread()
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
            self._watch.stood_still = late >= STALL_S and time.process_time() - cpu < STALL_CPU_SHARE * late

    def _take_turn(self, now: float) -> float:
        """Judge, and report what is due; until when to wait then."""
        judgement: Judgement | None = None
        state: str | None = None
        pressing_only = now < self._schedule.statistics_at
        try:
            state = self._watch.phase
            self._watch.sample_memory(now, only_if_pressing=pressing_only)
            judgement = self._watch.judge(now)
        except BaseException:  # noqa: BLE001  the runtime is a stranger: whatever it raises, this thread goes on
            self._log.trouble("judge", "the liveness of this process cannot be judged; it does not beat meanwhile")
        todo = turn(self._schedule, judgement, now, self._liveness_interval, self._statistics_interval, state)
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
        return wake_at(self._schedule, judgement, self._watch.next_sample())

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
        if self._left_behind:
            return True
        # Before the report: it is answered by a TERM, and what hangs now may be gone then.
        self._log.verdict(verdict, first=first)
        if verdict.healthy:
            return self._reporter.healthy()
        return self._reporter.unhealthy(verdict.code, verdict.reason)

    def _report_statistics(self, now: float) -> bool:
        """Report the statistics; False when they were dropped."""
        if self._left_behind:
            return True
        try:
            statistics = self._watch.statistics(now)
        except BaseException:  # noqa: BLE001  as above: its numbers must not cost its health
            self._log.trouble("statistics", "the statistics of this process cannot be read; its health is still judged")
            return True
        try:
            return self._reporter.report(statistics)
        except BaseException:  # noqa: BLE001  more partitions than a report holds: without this thread the node is silent
            self._log.trouble("report", "the statistics cannot be reported; it goes on without partitions")
            statistics.partitions = []
            with contextlib.suppress(BaseException):
                return self._reporter.report(statistics)
            return True
