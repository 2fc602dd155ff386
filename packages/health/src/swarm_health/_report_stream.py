"""Turn arriving bytes into readings. Pure, with no file descriptor and no clock."""

from __future__ import annotations

import msgspec

from swarm_health import _wire
from swarm_health._framing import FrameDecoder, encode_frame
from swarm_health.reports import Healthy, NodeStatistics, Report, Statistics, Unhealthy
from swarm_health.status import Status, worst


class Reading(msgspec.Struct, frozen=True):
    """The reports found by one `Reader.read()`, in order of arrival."""

    reports: tuple[Report, ...] = ()
    closed: bool = False
    """Every writer has gone: no more reports will come."""
    status: int | None = None
    """The worst status among these reports; None if none of them has a status."""
    reason: str = ""
    """The reason that came with `status`, "" when healthy."""
    dropped: int = 0
    """Number of reports that the writer has dropped since its start, as last reported."""
    statistics: NodeStatistics | None = None
    """The newest statistics among these reports, whole; None if there are none."""


BEAT = encode_frame(_wire.encode(Healthy(), 0))
"""The frame of a heartbeat when nothing has been dropped: always the same bytes, and by far the most common frame."""
_BEAT_READING = Reading((Healthy(),), False, Status.HEALTHY, "", 0, None)


class ReportStream:
    """Turns the bytes of one writer, in pieces as they arrive, into readings. No bytes make it raise."""

    __slots__ = ("_dropped", "_merger", "frames")

    def __init__(self) -> None:
        self.frames = FrameDecoder(_wire.decode)
        self._merger = _wire.StatisticsMerger()
        self._dropped = 0

    def beat(self) -> Reading | None:
        """Take the bytes of `BEAT`. Return None and take nothing in the middle of a frame: then `feed` them."""
        if not self.frames.between_frames:
            return None
        self._dropped = 0
        return _BEAT_READING

    def feed(self, chunk: bytes, closed: bool) -> Reading:
        """Take the next bytes, and whether they are the last ones. Return the completed reports."""
        envelopes = self.frames.feed(chunk) if chunk else []
        if closed:
            self.frames.finish()
        if not envelopes:
            return Reading(closed=closed, dropped=self._dropped)
        reports: list[Report] = []
        newest = None
        for envelope in envelopes:
            self._dropped = envelope.dropped
            if not isinstance(envelope.report, _wire.StatisticsPart):
                reports.append(envelope.report)
            elif (merged := self._merger.add(envelope.report)) is not None:
                newest = merged
                reports.append(Statistics(merged))
        status, reason = _verdict(reports)
        return Reading(tuple(reports), closed, status, reason, self._dropped, newest)

    def skips(self) -> dict[str, int]:
        """Return how often something was skipped, by cause."""
        incomplete = {"incomplete": self._merger.incomplete} if self._merger.incomplete else {}
        return {**self.frames.skips, **incomplete}


def _verdict(reports: list[Report]) -> tuple[int | None, str]:
    reasons: dict[int, str] = {}
    for report in reports:
        if isinstance(report, Healthy):
            reasons[Status.HEALTHY] = ""
        elif isinstance(report, Unhealthy):
            reasons[report.code] = report.reason
    status = worst(reasons)
    return status, "" if status is None else reasons[status]
