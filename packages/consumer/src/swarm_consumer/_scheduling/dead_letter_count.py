"""Decides from the recently diverted messages of a partition whether one more may be diverted. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarm_consumer.routing.dead_letters import DeadLetters


class DeadLetterCount:
    """The recently handled and diverted messages of a partition, against the limits."""

    __slots__ = ("consecutive", "diverted", "handled")

    _WINDOW = 1000
    _LEAST = 100

    def __init__(self) -> None:
        self.handled = 0.0
        self.diverted = 0.0
        self.consecutive = 0

    def succeeded(self, messages: int) -> None:
        """Count messages that were handled."""
        if messages:
            self.consecutive = 0
            self.handled += messages
            self._age()

    def dead_lettered(self, *, in_a_row: bool = True) -> None:
        """Count one that was diverted; in_a_row: also for the limit of those without a success between them."""
        self.consecutive += in_a_row
        self.diverted += 1
        self._age()

    def refusal(self, limits: DeadLetters) -> str | None:
        """Return why one more must not be diverted; None if it may."""
        if limits.max_consecutive is not None and self.consecutive >= limits.max_consecutive:
            return f"{self.consecutive} messages in a row were dead-lettered, the limit of max_consecutive"
        if limits.max_ratio is not None:
            total = self.handled + self.diverted + 1
            if total >= self._LEAST and (self.diverted + 1) / total > limits.max_ratio:
                return f"more than {limits.max_ratio:.0%} of the last messages would be dead letters, over max_ratio"
        return None

    def _age(self) -> None:
        if self.handled + self.diverted > 2 * self._WINDOW:
            self.handled /= 2
            self.diverted /= 2
