"""Send a request to a supervisor and follow it until it is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from swarm_cli.errors import CommandError
from swarm_cli.running_swarms import connected
from swarm_cli.views.event_lines import Event, noteworthy

if TYPE_CHECKING:
    from swarm_supervisor import ControlClient, Snapshot

LOOK_AGAIN_S = 0.5
"""An event triggers a look at the snapshot at once; without events there is one look per interval."""


class SwarmEnded(Exception):
    """The supervisor ended while it was followed; `stop` waits for this. `exit_code` is its exit code, if known."""

    def __init__(self, exit_code: int | None, reason: str) -> None:
        super().__init__(reason)
        self.exit_code = exit_code
        self.reason = reason


class Following:
    """A subscription, and a second connection for requests, so that no event is missed."""

    def __init__(
        self, path: Path, tell: Callable[[Event], None], note: Callable[[str], None] = lambda line: None
    ) -> None:
        """Connect and subscribe. Raises ControlError if no supervisor listens at `path`. `note` writes a line."""
        self._note = note
        self._events = connected(path)
        try:
            self.client: ControlClient = connected(path)
            self._events.request("subscribe")
        except BaseException:
            self._events.close()
            raise
        self._tell = tell

    def until(
        self,
        done: Callable[[Snapshot], bool],
        timeout_s: float,
        what: str,
        failed: Callable[[Event], str] = lambda event: "",
        waiting: Callable[[Snapshot], str] = lambda snapshot: "",
    ) -> Snapshot:
        """Look until `done`. `failed` gives the reason if an event means failure, else "".

        `waiting` gives what the operation waits for, or "". It is printed if two looks in a row see the same.

        Raises CommandError when `what` has not happened within `timeout_s` or has failed, SwarmEnded when the
        supervisor is gone.
        """
        from swarm_supervisor import ControlError

        deadline = time.monotonic() + timeout_s
        ended: tuple[int | None, str] = (None, "it closed its control socket")
        seen = told = ""
        while True:
            try:
                snapshot = self.client.status()
            except ControlError:
                for event in self._events.events(1.0):
                    ended = self._heed(event, failed) or ended
                raise SwarmEnded(*ended) from None
            if done(snapshot):
                for event in self._events.events(0.0):
                    self._heed(event, failed)
                return snapshot
            seen_before, seen = seen, waiting(snapshot)
            if seen and seen == seen_before and seen != told:
                self._note(seen)
                told = seen
            left = deadline - time.monotonic()
            if left <= 0:
                raise CommandError(
                    f"{what} is not done after {timeout_s:g} s but continues: see `swarm-cli status`, or give it more "
                    "time with --timeout SECONDS."
                )
            for event in self._events.events(min(LOOK_AGAIN_S, left)):
                ended = self._heed(event, failed) or ended
                # A request causes events itself (Controlled), which must not cause another request.
                if noteworthy(event):
                    break

    def _heed(self, event: Event, failed: Callable[[Event], str]) -> tuple[int | None, str] | None:
        self._tell(event)
        if why := failed(event):
            raise CommandError(why)
        if event["event"] == "Stopped":
            return event["exit_code"], event["reason"]
        return None

    def close(self) -> None:
        """Hang up."""
        self._events.close()
        self.client.close()

    def __enter__(self) -> Following:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
