"""The gate before the first fork: no node starts until a child process has checked Kafka.

The supervisor's loop runs meanwhile: it answers probes, page, control socket, signals and systemd from the start.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from swarm_cli import preflight
from swarm_cli.errors import CommandError, complain, sentence
from swarm_cli.exit_codes import ExitCode
from swarm_cli.settings import Settings

if TYPE_CHECKING:
    from swarm_cli.composition import Load
    from swarm_cli.outline import Outline
    from swarm_consumer import ClusterReport
    from swarm_supervisor import ChildFailed, Supervisor
    from swarm_supervisor.events import AfterWarmup, Stopping


MOST_LOST = 5
"""This many killed or slow children in a row are not a coincidence."""


class StartGate:
    """Opens when the brokers have what the application needs; ends the swarm if they do not."""

    def __init__(
        self, supervisor: Supervisor, load: Load, outline: Outline, nodes: int, settings: Settings, slack_s: float
    ) -> None:
        """Hold the nodes of a supervisor that is not running yet. Raises UsageError if no broker is named.

        `load` runs in the child: it returns the application or imports it there, within `slack_s` seconds.
        """
        from swarm_supervisor import events

        self._supervisor = supervisor
        self._load = load
        self._outline = outline
        self._nodes = nodes
        self._settings = settings
        self._slack_s = slack_s
        self._servers = preflight.named_servers(outline)
        self._patience = preflight.Patience(self._servers, settings.connect_timeout, time.monotonic())
        self._lost = 0
        self._looks = 0
        self._doubtful: ClusterReport | None = None
        self._open = False
        self._stopped_by = ""
        self._error: CommandError | None = None
        supervisor.hold(preflight.waiting(self._servers))
        supervisor.on(events.AfterWarmup)(self._begin)
        supervisor.on(events.Stopping)(self._stopping)

    def exit_code(self, code: int) -> int:
        """The command's exit code after a run that ended with `code`. Raises the error that kept the gate shut."""
        if self._error is not None:
            raise self._error
        if not self._open and self._stopped_by == "SIGINT":
            complain(preflight.interruption(self._servers))
            return ExitCode.INTERRUPTED
        return code

    def _begin(self, event: AfterWarmup) -> None:
        self._supervisor.call_at(event.at, self._ask)

    def _stopping(self, event: Stopping) -> None:
        self._stopped_by = event.reason

    def _ask(self) -> None:
        import msgspec

        from swarm_consumer import check_cluster

        timeout_s = self._patience.attempt_s(time.monotonic())

        def question() -> bytes:
            return msgspec.json.encode(check_cluster(*self._load(), timeout_s))

        try:
            # The child may start slowly on a busy machine: its own deadline is the timeout, and ours comes after it.
            self._supervisor.in_child(question, timeout_s + self._slack_s, self._answered)
        except OSError as error:
            self._again(f"no child process can be forked ({error.strerror})")
        except Exception as error:  # noqa: BLE001  after any error, a gate that stays shut must end the swarm
            self._refuse(error)

    def _answered(self, answer: bytes | ChildFailed) -> None:
        import msgspec

        from swarm_consumer import ClusterReport

        try:
            if not isinstance(answer, bytes):
                self._lost += 1
                if answer.lost and self._lost < MOST_LOST:  # for example after a pause of the machine or an OOM kill
                    self._again(str(answer))
                    return
                raise CommandError(f"asking the brokers from a child process failed: {answer}.")
            self._lost = 0
            report = msgspec.json.decode(answer, type=ClusterReport)
            if not preflight.settled(report):
                self._again(report.error or "no answer")
                return
            self._looks += 1
            if self._looks < preflight.LOOKS and preflight.in_doubt(report, self._settings):
                self._look_again(report)
            else:
                self._settle(report)
        except Exception as error:  # noqa: BLE001  as above
            self._refuse(error)

    def _settle(self, report: ClusterReport) -> None:
        preflight.judge(report, self._outline.topics, self._nodes, self._servers, self._settings.allow_missing_topics)
        self._open = True
        self._supervisor.release()

    def _look_again(self, report: ClusterReport) -> None:
        self._doubtful = report
        names = ", ".join(map(repr, preflight.missing_topics(report)))
        reason = f"it does not know {names} yet" if names else report.error
        self._supervisor.hold(preflight.waiting(self._servers, reason))
        self._supervisor.call_at(time.monotonic() + preflight.LOOK_S, self._ask)

    def _again(self, reason: str) -> None:
        now = time.monotonic()
        try:
            pause_s = self._patience.failed(reason, now)
        except CommandError as error:
            try:
                if self._doubtful is None:
                    raise error
                self._settle(self._doubtful)  # a broker did answer
            except Exception as final:  # noqa: BLE001  as above
                self._refuse(final)
            return
        self._supervisor.hold(preflight.waiting(self._servers, reason))
        self._supervisor.call_at(now + pause_s, self._ask)

    def _refuse(self, error: Exception) -> None:
        said = sentence(error)
        if said is not None:
            self._error = CommandError(said[0], ExitCode(said[1]))
        else:
            self._error = CommandError(f"the start failed: {type(error).__name__}: {error}.")
        self._supervisor.stop(str(self._error).rstrip("."), self._error.exit_code)
