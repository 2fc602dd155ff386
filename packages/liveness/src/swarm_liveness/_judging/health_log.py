"""What the reporter thread logs: each problem once. A log handler that raises cannot end the thread."""

from __future__ import annotations

import contextlib
import logging

from swarm_health import Status
from swarm_liveness._judging.stacks import stacks
from swarm_liveness._judging.verdict import Verdict

logger = logging.getLogger("swarm_liveness")


class HealthLog:
    """The log of one listener."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def trouble(self, what: str, sentence: str) -> None:
        """In an exception handler: log a kind of problem with its traceback, the first time only."""
        if what not in self._logged:
            self._logged.add(what)
            with contextlib.suppress(BaseException):  # even the text of an error may raise
                logger.exception("%s", sentence)

    def verdict(self, verdict: Verdict, *, first: bool) -> None:
        """Log an unhealthy verdict, with all stacks if it is the first and something hangs; log each note once."""
        with contextlib.suppress(BaseException):  # logging must not prevent the report
            self._verdict(verdict, first=first)

    def _verdict(self, verdict: Verdict, *, first: bool) -> None:
        for note in verdict.notes:
            if note not in self._logged:
                self._logged.add(note)
                logger.warning("%s", note)
        if verdict.healthy:
            return
        logger.error("unhealthy (%d): %s", verdict.code, "; ".join(finding.reason for finding in verdict.findings))
        if first and verdict.code in (Status.CONSUMING, Status.POLLING) and verdict.findings[0].hangs:
            for text in stacks():
                logger.error("%s", text)
