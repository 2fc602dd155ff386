"""The steps of a handler, the same for one that is sync and one that is async: seconds to wait, blocks to enter."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from greenlet import GreenletExit

from benchmarks.histories.primitives import Present


@dataclass
class Enter:
    """Enter a context manager."""

    block: Any


@dataclass
class Leave:
    """Leave it, with the error that ends it."""

    block: Any
    error: BaseException | None

    @property
    def details(self) -> tuple[Any, Any, Any]:
        """What __exit__ takes."""
        return type(self.error) if self.error is not None else None, self.error, None


Steps = Iterator[float | Enter | Leave]


def within(block: Any, inside: Steps) -> Steps:
    """Return the steps of a ``with`` or ``async with``, whichever the handler is."""
    yield Enter(block)
    try:
        yield from inside
    except (Exception, SystemExit) as error:
        yield Leave(block, error)
        raise
    yield Leave(block, None)


def drive(steps: Any) -> None:
    """Go through the steps, as a sync handler."""
    error: BaseException | None = None
    while True:
        try:
            step = next(steps) if error is None else steps.throw(error)
        except StopIteration:
            return
        error = None
        try:
            if isinstance(step, Enter):
                step.block.__enter__()
            elif isinstance(step, Leave):
                step.block.__exit__(*step.details)
            else:
                Present.scheduler.block(step)
        except GreenletExit:
            raise
        except BaseException as raised:  # noqa: BLE001  raised inside of the steps
            error = raised


async def drive_async(steps: Any) -> None:
    """Go through them, as an async handler."""
    error: BaseException | None = None
    while True:
        try:
            step = next(steps) if error is None else steps.throw(error)
        except StopIteration:
            return
        error = None
        try:
            if isinstance(step, Enter):
                await step.block.__aenter__()
            elif isinstance(step, Leave):
                await step.block.__aexit__(*step.details)
            else:
                await asyncio.sleep(step)
        except GreenletExit:
            raise
        except BaseException as raised:  # noqa: BLE001  raised inside of the steps
            error = raised
