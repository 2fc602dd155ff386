"""`--reload`: when a source file changes, the work is drained and the process re-executes itself.

A fork of the old supervisor would run old code; execve(2) keeps the pid and discards everything else. The files are
watched by a separate process (`source_watch`), because watchfiles uses a thread and a supervisor has none.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swarm_cli.errors import CommandError, UsageError, complain, sentence
from swarm_cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from swarm_consumer.process.signals import Stoppable
    from swarm_supervisor import Supervisor

logger = logging.getLogger("swarm_cli")

READY_TIMEOUT_S = 20.0


class SourceWatch:
    """Our end of the watching process. Its stdout has a line when it is ready and one for each change."""

    def __init__(self, folder: Path) -> None:
        if importlib.util.find_spec("watchfiles") is None:
            raise UsageError("--reload needs watchfiles: pip install 'swarm-cli[reload]'.")
        self.changed = ""
        self.ended = False
        """Whether a signal or `swarm-cli stop` has asked for the end."""
        self.process = subprocess.Popen(
            # A separate process group, because Ctrl-C is for the swarm. It ends when its stdin ends, that is, when we
            # end.
            [sys.executable, "-m", "swarm_cli.source_watch", str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.fd = self.process.stdout.fileno()
        try:
            if self.line(READY_TIMEOUT_S) is None:
                raise CommandError("the process that watches the source files does not answer: start without --reload.")
        except BaseException:
            self.close()
            raise

    def line(self, timeout_s: float | None) -> str | None:
        """The next line (the changed file); None after `timeout_s` seconds, or if the watching process has ended."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        if not poll.poll(None if timeout_s is None else 1000 * timeout_s):
            return None
        return os.read(self.fd, 4096).decode("utf-8", "replace").partition("\n")[0] or None

    def wait(self) -> None:
        """Wait for a change. Raises CommandError if the watching process has ended."""
        changed = self.line(None)
        if changed is None:
            raise CommandError("the process that watches the source files has ended: start again.")
        self.changed = changed

    def end(self) -> None:
        """Note that someone asked for the end: then nothing restarts, whatever changes before or after it."""
        self.ended = True

    def stop_at_change(self, supervisor: Supervisor) -> None:
        """Have the supervisor stop gracefully at the first change."""
        from swarm_supervisor import events
        from swarm_supervisor.signals import STOPPING

        def look(_: int) -> None:
            supervisor.remove_reader(self.fd)
            changed = self.line(0)
            if changed is None:
                logger.warning("the source files are no longer watched: a change will not reload")
                return
            self.changed = changed
            logger.info("%s changed: the swarm drains and restarts", changed)
            supervisor.stop(f"{changed} changed")

        def signalled(event: events.SignalReceived) -> None:
            if event.signal in STOPPING:
                self.end()

        def stopping(_: events.Stopping) -> None:
            # A change during a stop does not cause a restart, whatever caused the stop.
            supervisor.remove_reader(self.fd)

        def stopped(_: events.Stopped) -> None:
            if supervisor.stop_was_requested:
                self.end()

        supervisor.add_reader(self.fd, select.EPOLLIN, look)
        supervisor.on(events.SignalReceived)(signalled)
        supervisor.on(events.Stopping)(stopping)
        supervisor.on(events.Stopped)(stopped)

    def stop_runtime_at_change(self, runtime: Stoppable) -> Stoppable:
        """Stop a runtime at the first change, from a thread. Returns the object that signals must stop instead."""

        def follow() -> None:
            changed = self.line(None)
            if changed is not None and not self.ended:
                self.changed = changed
                logger.info("%s changed: draining, then restarting", changed)
                runtime.stop(f"{changed} changed")

        threading.Thread(target=follow, name="swarm-reload", daemon=True).start()
        return _Signalled(runtime, self)

    def close(self) -> None:
        """End the watching process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(frozen=True)
class _Signalled:
    """A runtime as seen by signals under `--reload`: they stop it for good."""

    runtime: Stoppable
    watch: SourceWatch

    def stop(self, reason: str) -> None:
        self.watch.end()
        self.runtime.stop(reason)

    def quiet(self) -> None:
        self.runtime.quiet()


def perform(body: Callable[[SourceWatch | None], int], reload: bool) -> int:
    """Run `body` and return the exit code. With `reload`, after a source file changed, re-execute this program instead.

    Code that does not load is not the end then: the next change is awaited. Only a signal ends it.
    """
    if not reload:
        return body(None)
    watch = SourceWatch(Path.cwd())
    try:
        try:
            code = body(watch)
        except Exception as error:
            said = sentence(error)
            if said is None:
                raise
            complain(said[0])
            code = said[1]
            if not watch.ended:
                logger.info("waiting for a source file to change")
                watch.wait()
    finally:
        watch.close()
    if watch.changed and not watch.ended and code != ExitCode.FORCED:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        # The interpreter's own options (-m, -X ...) are part of orig_argv.
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606
    return code
