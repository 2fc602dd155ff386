"""Handlers that do at random what handlers do, and write into the journal what may be passed because of it."""

import contextlib
from datetime import UTC, datetime
from typing import Any

from benchmarks.histories.fake_consumer import FakeConsumer
from benchmarks.histories.journal import Output
from benchmarks.histories.primitives import Present, Thread
from benchmarks.histories.steps import Steps, drive, drive_async, within
from swarm_consumer import Consumer
from swarm_consumer.errors import ConsumptionError, DeliveryError

OUTPUT = "output"


class Boom(Exception):
    """What handlers raise."""


class Untellable(Exception):
    """An error that cannot be made into text."""

    def __str__(self) -> str:
        raise ValueError("this has no text")


class _Awaitable:
    """Something to be awaited that is no coroutine."""

    def __init__(self, coroutine: Any) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Any:
        return self._coroutine.__await__()

    def __del__(self) -> None:
        self._coroutine.close()


class RunNotes:
    """One call of consume() or of a hook: what it was given, what it produced, what it has asked for."""

    def __init__(self, records: list[Any]) -> None:
        self.records = records
        self.outputs: list[Output] = []
        self.leaves = False  # it has seen that it should
        self.sought = False


class Scripted(Consumer):
    """A handler by the script of the present history."""

    def __init__(self) -> None:
        self.world = world = FakeConsumer.world
        self.kept: list[Any] = []  # handled, and not marked yet
        self.last: Any = None
        if world.chance("constructor_raises", 0.3):
            world.journal.note("constructor raises")
            raise Boom("constructor")

    @property
    def place(self) -> tuple[str, int]:
        """The partition."""
        return self.topic, self.partition

    # -- consume -------------------------------------------------------------------------------------------------

    def consume(self, messages: Any) -> Any:
        """Handle a batch, in one of the shapes that a handler can have."""
        world = self.world
        run = RunNotes([world.broker.by_number[int(value)] for value in messages.raw_payloads()])
        log = world.broker.logs[self.place]
        for record in run.records:
            if not record.handed:
                record.handed, record.handed_at = True, Present.scheduler.now
            log.handed[record.offset] = record
        world.journal.note("handed", self.place, run.records[0].offset, run.records[-1].offset, self.attempt)
        shape = world.shape()
        if shape == "sync":
            drive(self._guarded(run, messages))
            return None
        world.journal.note(f"returns a {shape}")
        if shape == "generator":
            return self._guarded(run, messages)
        if shape == "async generator":
            return self._stream(run, messages)
        coroutine = self._driven(run, messages)
        return coroutine if shape == "coroutine" else _Awaitable(coroutine)

    async def _driven(self, run: RunNotes, messages: Any) -> None:
        await drive_async(self._guarded(run, messages))

    async def _stream(self, run: RunNotes, messages: Any) -> Any:
        yield await drive_async(self._guarded(run, messages))

    def _guarded(self, run: RunNotes, messages: Any) -> Steps:
        world = self.world
        try:
            with world.journal.alone(self.place, "consume"):
                yield from self._body(run, messages)
        except Exception as error:
            world.journal.note("raises", self.place, type(error).__name__, error if isinstance(error, Boom) else "")
            world.wanted_seeks.discard(self.place)
            raise

    def _body(self, run: RunNotes, messages: Any) -> Steps:
        world = self.world
        yield world.moment()
        self._maybe_raise("at once", 0.15)
        if world.transactional:
            yield from self._in_transactions(run)
        else:
            for index, record in enumerate(run.records):
                yield from self._one(run, record, messages[index])
                if run.leaves:
                    world.journal.note("leaves early", self.place)
                    return
        self._maybe_pause()
        self._maybe_seek(run)
        if world.chance("raise", 0.1):
            world.journal.note("raises late", self.place)
            raise Boom("late")
        self._end(run)
        yield 0.0
        self.last = run.records[-1]

    def _one(self, run: RunNotes, record: Any, message: Any) -> Steps:
        world = self.world
        if world.chance("produce", 0.4):
            yield from self._produce(run, (record,))
        if world.chance("mark", 0.2):
            self._mark(run, record if world.rng.random() < 0.7 else run.records[0], message)
        if world.chance("mark_wrong", 0.1):
            self._mark_wrong()
        if world.chance("thread_mark", 0.3):
            Thread(target=lambda: self._from_a_thread(record, message), name="thread of a handler").start()
        if world.chance("leave", 0.15) and (self.is_revoked or self.is_stopping):
            run.leaves = True
        self._maybe_raise("in the middle", 0.08)
        if world.rng.random() < 0.15:
            yield world.moment()

    def _end(self, run: RunNotes) -> None:
        """Say that the batch is done."""
        world = self.world
        if world.manual and not world.transactional:
            self.kept += run.records
            if world.bulk and world.rng.random() < 0.6 and not world.journal.calm:
                return
            if world.journal.calm or world.rng.random() < 0.5:
                self._flush(run)
            return
        if not run.leaves and not run.sought and not world.transactional:
            world.journal.note("handled", self.place, run.records[0].offset, run.records[-1].offset)
            world.journal.claim(self.place, "handled", run.outputs, tuple(run.records))

    # -- output and marks ----------------------------------------------------------------------------------------

    def _produce(self, run: RunNotes, records: tuple[Any, ...]) -> Steps:
        world = self.world
        output = world.journal.output(records)
        run.outputs.append(output)
        world.journal.note("produces", self.place, output.number)
        try:
            delivery = self.produce(OUTPUT, b"%d" % output.number)
        except DeliveryError:
            output.failed = True
            if world.chance("catch_delivery", 0.5):
                run.outputs.remove(output)
                world.journal.note("catches a refused produce")
                return
            raise
        if world.chance("catch_delivery", 0.3):
            yield 0.0
            try:
                delivery.wait(0.5)
            except DeliveryError:  # it was told, and deals with it
                run.outputs.remove(output)
                world.journal.note("deals with a failed delivery")

    def _mark(self, run: RunNotes, record: Any, message: Any = None, **options: Any) -> None:
        world = self.world
        journal = world.journal
        if world.chance("mark_metadata", 0.3):
            options["metadata"] = f"m{record.number}"
        if world.chance("mark_blocking", 0.3):
            options.update(blocking=True, timeout=0.5)
        serial = record.serial
        log = world.broker.logs[self.place]
        if record not in run.records and log.low <= record.offset < log.high:
            # Kept from an earlier batch, and marked by its offset: what that means now nobody else can know.
            serial = max(serial, log.at(record.offset).serial)
        claim = journal.claim(self.place, "marked", run.outputs, last_serial=serial)
        journal.note("marks", self.place, record.offset, options or "", [one.number for one in run.outputs])
        what = message if message is not None and message.offset == record.offset else record.offset
        try:
            self.mark_as_consumed(what, **options)
        except (ValueError, ConsumptionError, DeliveryError) as error:
            journal.note("mark refused", type(error).__name__)
            if isinstance(error, ValueError):
                journal.withdraw(self.place, claim)
                if not world.forgiven(record):
                    raise

    def _mark_wrong(self) -> None:
        """Mark what was not handed out: it must be refused, or at least move nothing."""
        log = self.world.broker.logs[self.place]
        offset = log.greatest_given + 1 + int(self.world.rng.random() * 5)
        self.world.journal.note("marks wrongly", self.place, offset)
        with contextlib.suppress(ValueError):
            self.mark_as_consumed(offset)

    def _from_a_thread(self, record: Any, message: Any) -> None:
        world = self.world
        run = RunNotes([])
        try:
            Present.scheduler.block(world.moment())
            for _ in self._produce(run, (record,)):
                pass
            Present.scheduler.block(world.rng.random() * 0.5)
            world.journal.note("marks from a thread")
            self._mark(run, record, message)
        except Exception as error:  # noqa: BLE001  whatever it is refused with
            world.journal.note("thread of a handler refused", type(error).__name__)

    def _flush(self, run: RunNotes) -> None:
        """Write what was kept, and mark it."""
        if not self.kept:
            return
        kept, self.kept = self.kept, []
        if self.world.chance("produce", 0.7) and not self.world.transactional:
            for _ in self._produce(run, tuple(kept)):
                pass
        self._mark(run, kept[-1])

    def _in_transactions(self, run: RunNotes) -> Steps:
        world = self.world
        if not world.per_message:
            # In one, or in two of which each marks what it was for.
            count = len(run.records)
            first = 1 + int(world.rng.random() * count) if world.chance("mark", 0.3) else count
            for records in (run.records[:first], run.records[first:]):
                if records:
                    yield from self._in_one(RunNotes(records), marks=world.manual or first < count)
            return
        for record in run.records:
            yield from self._in_one(RunNotes([record]), marks=world.transaction_marks or world.manual)
            yield world.moment() if world.rng.random() < 0.2 else 0.0

    def _in_one(self, run: RunNotes, marks: bool) -> Steps:
        def inside() -> Steps:
            yield from self._inside(run, run.records)
            self.world.journal.claim(self.place, "handled", run.outputs, tuple(run.records))
            if marks:
                self.mark_as_consumed(run.records[-1].offset)

        yield from within(self.transaction(timeout=1.0), inside())

    def _inside(self, run: RunNotes, records: list[Any]) -> Steps:
        for record in records:
            output = self.world.journal.output((record,))
            run.outputs.append(output)
            self.produce(OUTPUT, b"%d" % output.number)
            self._maybe_raise("in a transaction", 0.05)
            if self.world.rng.random() < 0.2:
                yield self.world.moment()

    # -- other wishes --------------------------------------------------------------------------------------------

    def _maybe_raise(self, where: str, probability: float) -> None:
        world = self.world
        if world.chance("raise", probability):
            raise Boom(where)
        if world.chance("untellable", probability * 0.5):
            raise Untellable
        if world.chance("exit", probability * 0.2):
            world.journal.note("exits", self.place)
            raise SystemExit(3)

    def _maybe_pause(self) -> None:
        world = self.world
        if world.chance("pause", 0.2):
            duration = None if world.rng.random() < 0.2 else world.rng.random() * 0.5
            world.journal.note("pauses", self.place, duration)
            self.pause(duration)
            world.paused.append(self)
            if world.rng.random() < 0.2:
                self.resume()

    def _maybe_seek(self, run: RunNotes) -> None:
        world = self.world
        rng, log = world.rng, world.broker.logs[self.place]
        if not world.chance("seek", 0.12):
            return
        kind = rng.random()
        target: Any = log.low + int(rng.random() * (log.high - log.low + 1))
        if kind < 0.2:
            target = "earliest" if rng.random() < 0.5 else "latest"
        elif kind < 0.35 and run.records:
            target = datetime.fromtimestamp(1_700_000_000 + int(rng.random() * world.broker.total()), UTC)
        elif world.has("seek_beyond") and kind < 0.7:
            target = log.high + int(rng.random() * 10)
        world.journal.note("seeks", self.place, target)
        self.seek(target)
        run.sought = True
        world.wanted_seeks.add(self.place)
        if world.transactional:  # what lies behind the target may be in the batch's output already
            world.broker.logs[self.place].rewound = True

    def _in_hook(self, name: str) -> None:
        """Do what hooks do."""
        with self.world.journal.alone(self.place, name):
            self._of_hook(name)

    def _of_hook(self, name: str) -> None:
        world = self.world
        run = RunNotes([])
        world.journal.note(f"hook {name}", self.place)
        if world.rng.random() < 0.3:
            Present.scheduler.block(world.moment())
        if world.chance("hook_raises", 0.15):
            raise Boom(name)
        if world.chance("exit", 0.02):
            raise SystemExit(4)
        if world.transactional:
            return
        if world.manual and world.bulk:
            self._flush(run)
        elif self.last is not None and world.chance("produce", 0.5):
            for _ in self._produce(run, (self.last,)):
                pass
            self._mark(run, self.last)
        if world.chance("mark_wrong", 0.2):
            self._mark_wrong()
