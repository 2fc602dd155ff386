"""The listener: the limits of one process, and the start and stop of its checks."""

from __future__ import annotations

import contextlib
import logging
import time

from swarm_health import NodeStatistics, Status
from swarm_liveness._judging import container
from swarm_liveness._judging.health_log import HealthLog
from swarm_liveness._judging.memory import ProcessMemory
from swarm_liveness._judging.memory_sampler import MemorySampler
from swarm_liveness._judging.reporter_thread import ReporterThread
from swarm_liveness._judging.verdict import Finding, Verdict
from swarm_liveness._judging.watch import Watch
from swarm_liveness.protocols import Observable, Reporter, Telling
from swarm_liveness.settings import (
    Limits,
    LivenessSettingsError,
    MemoryMetric,
    check,
    check_against_supervisor,
    check_intervals,
)

logger = logging.getLogger("swarm_liveness")


class LivenessListener:
    """Checks one process (polling, consuming, stability, memory) and sends its heartbeats.

    Create it where the application is set up. That may be before a fork, since nothing is opened or started. Then call
    `start` in the process that consumes. With a reporter (a supervisor's node) a daemon thread reports; without one, a
    probe in the same process asks `verdict`.
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
        """Set the limits, in seconds and MB (2^20 bytes).

        - `memory_limit`: MB; None: no limit.
        - `consuming_ttl`: how long a hook may run; None: max.poll.interval.ms of its group. A topic's own TTL wins.
        - `polling_ttl`: how long a group may go without a poll; None: its max.poll.interval.ms.
        - `stability_ttl`: how long a group may stay in one unsettled join state; None: twice its max.poll.interval.ms.
        - `memory_metric`: which figure the limit applies to: "uss", "pss" or "rss".
        - `memory_share`: instead of memory_limit, the part of the container's limit (cgroup v2) that all nodes
          together may use, like 0.8; `before_fork` computes the limit of one node from it.
        - `liveness_interval`: seconds between two heartbeats.
        - `statistics_interval`: seconds between two reports of statistics.
        - `memory_refresh`: how old USS and PSS in the statistics may get while no limit needs them; None: they are not
          read for the statistics.

        Raises LivenessSettingsError for a value that cannot work; the sentence says what to change.
        """
        self.limits = Limits(
            polling_ttl=polling_ttl,
            consuming_ttl=consuming_ttl,
            stability_ttl=stability_ttl,
            memory_limit=memory_limit,
            memory_metric=memory_metric,
        )
        check_intervals(self.limits, liveness_interval, statistics_interval)
        check("memory_refresh", memory_refresh)
        if memory_share is not None:
            if memory_limit is not None:
                raise LivenessSettingsError("memory_limit and memory_share are both set: give one of them")
            container.node_limit_mb(1.0, memory_share, 0.0, 1)  # refuses a bad share
        self.memory_share = memory_share
        self.liveness_interval = liveness_interval
        self.statistics_interval = statistics_interval
        self.memory_refresh = memory_refresh
        self._log = HealthLog()
        self._memory = MemorySampler(
            ProcessMemory(),
            memory_refresh,
            lambda: self._log.trouble("memory", "cannot read the memory of this process; memory_limit is not checked"),
        )
        self._watch: Watch | None = None
        self._thread: ReporterThread | None = None

    def before_fork(self, nodes: int = 1) -> None:
        """Compute the memory limit in the process that is about to fork, where the preload can be measured.

        A share of the container becomes a limit in MB, with the preload subtracted. Without a container limit there is
        no memory limit, which is logged. A process that does not fork calls `without_fork` instead.

        Raises LivenessSettingsError when an RSS limit is not above this process's own RSS, or nothing is left for the
        nodes.
        """
        with ProcessMemory() as memory:
            rss_mb = memory.rss_mb()
        self.limits = container.limits_with_share(self.limits, self.memory_share, rss_mb, nodes)
        check_against_supervisor(self.limits, rss_mb)

    def without_fork(self) -> None:
        """Compute the memory limit of a process that consumes without forking: it shares nothing with others.

        Raises LivenessSettingsError for a bad `memory_share`.
        """
        self.limits = container.limits_with_share(self.limits, self.memory_share, 0.0, 1)

    def start(self, observable: Observable, reporter: Reporter | None = None) -> None:
        """Start to watch the runtime; with a reporter, a daemon thread sends heartbeats. In the node, after the fork.

        Raises RuntimeError when it is already watching a runtime.
        """
        if self._watch is not None:
            raise RuntimeError("this LivenessListener is already watching a runtime: call stop() first")
        now = time.monotonic()
        self._memory.begin()
        self._watch = Watch(observable, self.limits, self._memory, now)
        observable.after_batch(self._batch_ended)
        if isinstance(observable, Telling):
            observable.after_state(self._look_now)
        self._memory.sample(self.limits, now, working=False)
        if reporter is not None:
            self._thread = ReporterThread(
                self._watch, reporter, self._log, self.liveness_interval, self.statistics_interval
            )
            self._thread.start()

    def stop(self, timeout: float = 1.0) -> None:
        """Stop the reporter thread, wait at most `timeout` seconds for it, and report the last figures. Idempotent."""
        if self._thread is not None:
            self._thread.stop(timeout)
        self._thread = self._watch = None
        self._memory.close()

    def verdict(self, now: float | None = None) -> Verdict:
        """The verdict at `now` (monotonic seconds; None: this moment). Healthy while nothing is watched."""
        watch, thread = self._watch, self._thread
        if watch is None:
            return Verdict()
        verdict = watch.judge(time.monotonic() if now is None else now).verdict
        if thread is not None and thread.gone:
            # That thread never ends on its own. A probe must not report a process as healthy that no longer reports.
            ended = Finding(Status.POLLING, "the thread that reports the health of this process has ended")
            return Verdict(ended.code, ended.reason, (ended, *verdict.findings), verdict.notes)
        return verdict

    def statistics(self, now: float | None = None) -> NodeStatistics:
        """The runtime's statistics with ages, memory and CPU time added."""
        watch = self._watch
        return NodeStatistics() if watch is None else watch.statistics(time.monotonic() if now is None else now)

    def _batch_ended(self) -> None:
        """Sample the memory, in the worker's thread: what is in use between two batches is what the process keeps."""
        watch = self._watch
        with contextlib.suppress(BaseException):  # this is the runtime's own thread: no error of ours may end it
            if watch is not None and watch.batch_ended(time.monotonic()):
                self._look_now()

    def _look_now(self) -> None:
        """Wake the reporter thread, if there is one. From any thread."""
        thread = self._thread
        if thread is not None:
            thread.look_now()
