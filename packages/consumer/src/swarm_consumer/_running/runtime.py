"""The runtime: creates the clients, waits for the order to stop, and makes everything end in time.

States: starting -> running -> quieting -> quiet -> stopping -> stopped; only forwards, but stopping can follow any of
them.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from swarm_consumer._connection.connection import Connection
from swarm_consumer._connection.kept_progress import kept_progress
from swarm_consumer._connection.membership import Membership
from swarm_consumer._connection.rebalances import revocation_timeout_s
from swarm_consumer._connection.workers import Workers
from swarm_consumer._producing.producer import Producer
from swarm_consumer._reporting.reminders import Reminders
from swarm_consumer._running import collection
from swarm_consumer._running.application import Application
from swarm_consumer._running.event_loop import EventLoop
from swarm_consumer._running.execution import Execution
from swarm_consumer._running.lifespan import Lifespan, NodeInfo
from swarm_consumer._running.process_settings import ProcessSettings, check_process_setting
from swarm_consumer._running.watchdog import Watchdog, loss
from swarm_consumer._scheduling.remembrance import Evict, Member, Remembrance
from swarm_consumer._scheduling.run import Run
from swarm_consumer.declaring.checks import check_number
from swarm_consumer.errors import ConfigurationError
from swarm_consumer.events import ClientError, StateChanged
from swarm_consumer.kafka.clients import ClientFactory, KafkaClients
from swarm_consumer.kafka.fork_guard import Origin, check_clients_allowed
from swarm_consumer.kafka.producer_properties import producer_properties
from swarm_consumer.process.exit_codes import EXIT_CLEAN, EXIT_DRAIN_OVERRUN, EXIT_FATAL
from swarm_consumer.process.signals import Flag
from swarm_consumer.routing.client_properties import ClientProperties
from swarm_consumer.routing.codecs import TopicCodecs
from swarm_consumer.routing.routes import SubscriptionGroup
from swarm_consumer.routing.selection import Selection
from swarm_consumer.routing.static_ids import StaticIds

WATCH_S = 1
"""How often the threads of the node are checked."""
Leaving = Callable[[int], bool]
"""Whether this process, if it ends with an exit code, gives back its memberships for good."""
CLOSE_GRACE_S = 1.0
"""Extra time after the drain deadline for a client's close(), before the client is left behind."""


class Runtime:
    """Runs an app in this process. Create it in the process that runs it: after a fork, not before.

    node_id: the number of this process in a swarm; part of static member ids, client ids and transactional ids.
    generation: the count of processes with that number so far, for the app's lifespan.
    selection: which topics and groups to run.
    drain_timeout: seconds from the order to stop until run() returns, even if handlers hang.
    clients: the factory of Kafka clients; by default that of confluent-kafka.
    memory: what outlives this process, so that the next owner of a partition continues where this one was, and knows
        what this one died with; None: nothing does.
    evict: removes members of processes that have ended from their groups (`swarm_consumer.eviction`).
    static_ids: static member ids, for clients without a ``group.instance.id`` of the app's.

    Raises ConfigurationError for settings that contradict each other and for a selection that matches nothing.
    """

    def __init__(
        self,
        app: Application,
        *,
        node_id: int | None = None,
        generation: int = 1,
        selection: Selection | None = None,
        drain_timeout: float = ProcessSettings.drain_timeout,
        clients: ClientFactory | None = None,
        memory: Remembrance | None = None,
        evict: Evict | None = None,
        static_ids: StaticIds | None = None,
    ) -> None:
        check_clients_allowed("Runtime")
        check_process_setting("drain_timeout", drain_timeout, "Runtime")
        if node_id is not None:
            check_number(node_id, 0, 10**6, "node_id", "Runtime", whole=True)
        check_number(generation, 1, 10**12, "generation", "Runtime", whole=True)
        selection = selection or Selection()
        selection.check(app)
        self.app = app
        self.node_id = node_id
        self.drain_timeout = float(drain_timeout)
        self.phase = "starting"
        self._groups = selection.apply(app.subscription_groups())
        self._revocation_timeouts = {
            group.name: revocation_timeout_s(app.revocation_timeout, group) for group in self._groups
        }
        self._bus = app.bus
        self._connections: list[Connection] = []
        self._reminders = Reminders(self._bus)
        self._fatal: str | None = None
        self._stop_reason: str | None = None
        self._quiet_wanted = False
        self._after_batch: tuple[Callable[[], None], ...] = ()
        self._after_state: tuple[Callable[[], None], ...] = ()
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._origin = Origin()
        self._factory = clients or KafkaClients()
        self._memory = memory
        self._evict = evict
        self._departed: list[Member] = []
        self._static_ids = static_ids
        self._watchdog = Watchdog(self._bus, self._wake)
        kafka = {name: one.value for name, one in app._properties.items()}
        self.producer = Producer(
            producer_properties(kafka, app.producer_properties, app.client_id, node_id),
            on_error=self._producer_error,
            on_undelivered=self._watchdog.undelivered,
            clients=self._factory,
            codec_of=TopicCodecs(app.subscription_groups()).of,
        )
        self._event_loop = EventLoop(self._watchdog.loop_failed)
        self._execution = Execution(self._bus, self.producer, self._event_loop)
        self._workers = Workers(
            app.concurrency, self._execution.work, self._execution.hook, on_failure=self._watchdog.worker_failed
        )
        node = NodeInfo(id=node_id, generation=generation)
        self._lifespan = Lifespan(app.hooks.lifespan, node, self._event_loop, self._bus)

    # -- running -------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Call the app's outstanding warm-ups and enter its lifespan; otherwise `run` does this.

        Call it before the first health report, in the thread that calls `run`. Raises WarmupError and LifespanError.
        """
        if not self._origin.is_here:
            raise ConfigurationError("this Runtime was created in another process; create it after the fork")
        self.app.hooks.warm_up()
        self._lifespan.enter()
        self._execution.state = self._lifespan.state

    def run(
        self,
        stopping: Flag | None = None,
        quieting: Flag | None = None,
        leaving: Leaving | None = None,
        removed: Callable[[], bool] | None = None,
    ) -> int:
        """Consume until asked to stop; block the calling thread; return the exit code.

        stopping, quieting: orders from outside, besides stop() and quiet(). leaving: asked at the end of each client,
        on its thread, with the exit code to come (1 for an exception); True makes static members leave their groups for
        good. removed: asked instead for members under a ``group.instance.id`` of the app's; None: leaving is. Installs
        no signal handler; an exception of one, such as Python's own KeyboardInterrupt, stops and drains before it is
        raised.

        Returns 0 after a clean stop, 1 after a fatal error of a client, the producer or a thread of the node, 4 when
        the drain took too long: threads may still be alive then, leave with os._exit. Raises ConfigurationError when a
        client refuses its properties, WarmupError and LifespanError when the app's own hooks fail.
        """
        if self.phase != "starting":
            raise RuntimeError("a Runtime runs only once; create a new one")
        self.prepare()
        try:
            code = self._consume(stopping, quieting, leaving, removed)
        except BaseException as error:
            self._lifespan.leave(error, 0.0)
            self._event_loop.stop(CLOSE_GRACE_S)
            raise
        if self._lifespan.error is not None:
            raise self._lifespan.error
        return code

    def _consume(
        self,
        stopping: Flag | None,
        quieting: Flag | None,
        leaving: Leaving | None,
        removed: Callable[[], bool] | None,
    ) -> int:
        if self._memory is not None:
            self._departed = self._bus.call("asking for members that are dead", self._memory.departed) or []
        self._connections += [self._connect(group) for group in self._groups]
        self._execution.after_batch = self._after_batch
        self._bus.on_interruption = functools.partial(self.stop, "KeyboardInterrupt was raised")
        with collection.spared(self._most_in_flight()):
            self._workers.start()
            for connection in self._connections:
                connection.start()
            try:
                self._wait(stopping, quieting)
            except BaseException as error:  # KeyboardInterrupt, or an exception of a user's signal handler
                self.stop(f"{type(error).__name__} was raised")
                self._finish(leaving, removed, error)
                raise
            code = self._finish(leaving, removed)
        self._bus.on_interruption = None
        self._bus.raise_interruption()
        return code

    def stop(self, reason: str = "stop() was called") -> None:
        """Stop: finish running work, store and commit it, close. Callable from any thread or signal handler."""
        if self._stop_reason is None:
            self._stop_reason = reason
        self._wake()

    def quiet(self) -> None:
        """Take no more messages, finish running work, keep the membership. From any thread or signal handler."""
        self._quiet_wanted = True
        self._wake()

    # -- observed by liveness ----------------------------------------------------------------------------------

    def polls(self) -> Sequence[Connection]:
        """Return a poll stamp for each subscription group."""
        return tuple(self._connections)

    def runs(self) -> Sequence[Run]:
        """Return a stamp for each call into a consumer that is in progress."""
        hooks = [run for connection in self._connections for run in list(connection.hook_runs.values())]
        return [*self._workers.occupied(), *hooks]

    def fatal_error(self) -> str | None:
        """Return the reason why this node cannot continue (a client, the producer, a thread); None if it can."""
        reasons = (self._fatal, self._watchdog.fatal, *(connection.fatal for connection in self._connections))
        return next((reason for reason in reasons if reason is not None), self.producer.fatal_error)

    def complaint(self) -> tuple[int, str] | None:
        """Return the code and reason that a handler gave to `Consumer.unhealthy`; None if there is none."""
        return next(
            (connection.complaint for connection in self._connections if connection.complaint is not None), None
        )

    def statistics(self) -> Mapping[str, object]:
        """Return counters and ages, named as in the health protocol's node statistics."""
        from swarm_consumer._connection.observation import node_statistics

        return node_statistics(self.phase, self._connections, self.runs())

    def after_batch(self, callback: Callable[[], None]) -> None:
        """Call `callback` at the end of every batch, on its worker thread."""
        self._after_batch = (*self._after_batch, callback)
        self._execution.after_batch = self._after_batch

    def after_state(self, callback: Callable[[], None]) -> None:
        """Call `callback` after every change of `phase`, on the thread that changed it."""
        self._after_state = (*self._after_state, callback)

    # -----

    def _connect(self, group: SubscriptionGroup) -> Connection:
        properties = ClientProperties(group, self.app.client_id, self.node_id, self._static_ids)
        membership = Membership(
            group,
            properties.instance_id,
            self._bus,
            memory=self._memory,
            evict=self._evict,
            departed=[member for member in self._departed if member.group == group.name],
        )
        return Connection(
            group,
            self._factory,
            properties,
            self._workers,
            self._bus,
            self._wake,
            self._revocation_timeouts[group.name],
            kept_progress(self._memory, group, self._bus, positions=not self.producer.transactional),
            membership,
        )

    def _most_in_flight(self) -> int:
        """Return how many messages are held or handled at a time: each worker handles one batch while two wait."""
        return 3 * self._workers.count * sum(group.largest_batch for group in self._groups)

    def _wait(self, stopping: Flag | None, quieting: Flag | None) -> None:
        """Wait for the order to stop or a client's end, and handle changes of the state."""
        poller = select.poll()
        poller.register(self._wake_reader, select.POLLIN)
        if stopping is not None:
            poller.register(stopping.fileno(), select.POLLIN)
        if quieting is not None and quieting.fileno() != (stopping.fileno() if stopping is not None else -1):
            poller.register(quieting.fileno(), select.POLLIN)
        quiet_seen = False
        while True:
            if stopping is not None and stopping.is_set() and self._stop_reason is None:
                self._stop_reason = "asked to stop"
            if self._stop_reason is not None:
                return
            lost = loss(
                self._connections, self._workers, self._event_loop, self._lifespan
            )  # before the reasons for one
            if self.fatal_error() or any(connection.configuration_error for connection in self._connections):
                return
            if lost is not None:
                self._watchdog.fail(lost)
                return
            if quieting is not None and quieting.is_set():
                self._quiet_wanted = True
            if self._quiet_wanted and not quiet_seen:
                quiet_seen = True
                if quieting is not None:
                    # The flag's descriptor stays readable and would turn this into a busy loop.
                    poller.unregister(quieting.fileno())
                    quieting = None
                self._enter("quieting")
                for connection in self._connections:
                    connection.quiet()
            if self.phase == "quieting" and all(connection.idle for connection in self._connections):
                self._enter("quiet")
            if self.phase == "starting" and all(connection.last_poll is not None for connection in self._connections):
                self._enter("running")
            settled = self.phase in ("running", "quiet")
            poller.poll(1000 * WATCH_S if settled else 20)
            self._swallow()
            self._reminders.look(self._connections if self.phase == "running" else (), time.monotonic())
            self.producer.serve()

    def _finish(
        self, leaving: Leaving | None, removed: Callable[[], bool] | None, raised: BaseException | None = None
    ) -> int:
        deadline = time.monotonic() + self.drain_timeout
        misconfigured = next((one.configuration_error for one in self._connections if one.configuration_error), None)
        self._fatal = self.fatal_error()
        self._enter("stopping", self._fatal or (str(misconfigured) if misconfigured else self._stop_reason) or "")
        code = EXIT_FATAL if raised or misconfigured or self._fatal else EXIT_CLEAN
        self._workers.gate.ending = True
        for connection in self._connections:
            asked = (lambda _: removed()) if removed is not None and connection.id_is_the_apps else leaving
            connection.stop(deadline, leaving=functools.partial(self._leaves, asked, code), failed=code != EXIT_CLEAN)
        for connection in self._connections:
            connection.thread.join(max(0.0, deadline + CLOSE_GRACE_S - time.monotonic()))
        hanging = [connection for connection in self._connections if connection.thread.is_alive()]
        if self._fatal is not None or misconfigured is not None or raised is not None:
            for connection in self._connections:
                connection.blame_nothing()
        overrun = any(connection.overrun for connection in self._connections)
        # Before the event loop ends, because an async lifespan runs on it.
        self._lifespan.leave(raised, deadline - time.monotonic())
        unsent = 0
        if not hanging:
            unsent = self.producer.close(max(0.5, deadline - time.monotonic()))
            self._event_loop.stop(0.5 if overrun else max(0.5, deadline - time.monotonic()))
            self._workers.stop(0.2 if overrun else max(0.2, deadline - time.monotonic()))
        for connection in hanging:
            self._bus.emit(
                ClientError(
                    subscription_group=connection.group.name,
                    code="_TIMED_OUT",
                    reason=f"the client did not close within the drain timeout of {self.drain_timeout:g} s",
                )
            )
        if unsent:
            self._bus.emit(
                ClientError(
                    subscription_group="producer",
                    code="_TIMED_OUT",
                    reason=f"{unsent} messages were produced outside of batches but not sent before the deadline",
                )
            )
        self._bus.tell_repeated(at_the_end=True)
        self._enter("stopped", self.fatal_error() or "")  # including an error during the stop
        if misconfigured is not None:
            raise misconfigured
        if self.fatal_error() is not None:
            return EXIT_FATAL
        return EXIT_DRAIN_OVERRUN if hanging or overrun else EXIT_CLEAN

    def _leaves(self, leaving: Leaving | None, code: int) -> bool:
        """Whether static members have to leave their groups, as far as this is known now."""
        if leaving is None:
            return False
        code = EXIT_FATAL if self.fatal_error() is not None else code  # an error may come during the stop, too
        asking = functools.partial(leaving, code)
        return bool(self._bus.call("the callable that says whether to leave", asking))

    def _enter(self, state: str, reason: str = "") -> None:
        previous, self.phase = self.phase, state
        for callback in self._after_state:
            self._bus.call("after_state callback", callback)
        self._bus.emit(StateChanged(state=state, previous=previous, reason=reason))

    def _wake(self) -> None:
        # Signal-safe: one write that never blocks. A full pipe means that a wake-up is already pending.
        try:
            os.write(self._wake_writer, b"\0")
        except OSError:
            return

    def _swallow(self) -> None:
        try:
            while os.read(self._wake_reader, 4096):
                pass
        except BlockingIOError:
            return

    def _producer_error(self, error: Any) -> None:
        reason = self.producer.scrub(error.str())
        self._bus.emit(
            ClientError(subscription_group="producer", code=error.name(), reason=reason, fatal=error.fatal())
        )
        if error.fatal():
            self._wake()

    def __del__(self) -> None:
        for descriptor in (getattr(self, "_wake_reader", None), getattr(self, "_wake_writer", None)):
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
