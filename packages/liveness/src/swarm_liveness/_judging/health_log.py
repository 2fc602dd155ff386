"""What the reporter thread writes into the log, each trouble once; no log handler that raises can end that thread."""

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
        self._told: set[str] = set()

    def trouble(self, what: str, sentence: str) -> None:
        """In an exception handler: tell a kind of trouble, with its traceback, the first time."""
        if what not in self._told:
            self._told.add(what)
            with contextlib.suppress(BaseException):  # the text of what was raised may raise itself
                logger.exception("%s", sentence)

    def verdict(self, verdict: Verdict, *, first: bool) -> None:
        """Tell a verdict that is not well, and each note once; with the stacks of what hangs where it is the first."""
        with contextlib.suppress(BaseException):  # the report is what counts
            self._verdict(verdict, first=first)

    def _verdict(self, verdict: Verdict, *, first: bool) -> None:
        for note in verdict.notes:
            if note not in self._told:
                self._told.add(note)
                logger.warning("%s", note)
        if verdict.healthy:
            return
        logger.error("unhealthy (%d): %s", verdict.code, "; ".join(finding.reason for finding in verdict.findings))
        if first and verdict.code in (Status.CONSUMING, Status.POLLING) and verdict.findings[0].hangs:
            for text in stacks():
                logger.error("%s", text)
