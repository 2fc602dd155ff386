"""The log of librdkafka, sent to the logger ``swarm_consumer.librdkafka`` without the secrets of any client."""

from __future__ import annotations

import logging
from typing import Any

from swarm_consumer.kafka.redaction import ScrubbingFilter
from swarm_consumer.wording.plain_text import tell_broken_log


class ContainedLog:
    """A logger for librdkafka, which calls it inside poll(), where an exception would end the owner thread."""

    def __init__(self, log: logging.Logger) -> None:
        self._logger = log
        self._failures = 0

    def log(self, level: int, text: str, *arguments: Any) -> None:
        """Log; an exception of a handler or filter is reported on standard error."""
        try:
            self._logger.log(level, text, *arguments)
        except BaseException as error:  # noqa: BLE001  see the class
            self._failures += 1
            tell_broken_log(self._failures, scrubbing.clean(f"{text} {arguments}"), error)


logger = logging.getLogger("swarm_consumer.librdkafka")
librdkafka_log = ContainedLog(logger)
scrubbing = ScrubbingFilter()
logger.addFilter(scrubbing)
