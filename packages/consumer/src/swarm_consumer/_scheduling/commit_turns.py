"""When to commit which positions: a client's commits one after the other. Pure: no client, no clock.

librdkafka retries a refused commit after a back-off (a coordinator that loads, moves or is away), and sends later ones
meanwhile: the oldest then arrives last and takes the group back (`rd_kafka_handle_OffsetCommit`, 2.16). And as a
partition leaves it commits the stored offset, even below an offset that a transaction has committed since
(`rd_kafka_assignment_serve_removals`). So nothing is stored, its timer is off, and the next commit of ours is sent when
the one before has been answered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from swarm_consumer._scheduling.ledger import Key

REFUSED_S = 1.0
"""Seconds until a position is committed again after a refusal."""
UNANSWERED_S = 180.0
"""Seconds until a commit without an answer is given up. librdkafka keeps one for a session (45 s) without a
coordinator, and each request for socket.timeout.ms (60 s)."""

Places = frozenset[tuple[Key, int]]
"""Partitions and their next offsets. An answer may have another order."""


class CommitTurns:
    """The uncommitted positions of one client, and its commits without an answer.

    Guarded by the group's lock. Times are monotonic seconds.
    """

    def __init__(self, interval_s: float, now: float) -> None:
        self._interval_s = interval_s
        self._last = now  # when the interval began
        self._wanted: dict[Key, float] = {}  # when to commit it
        self._under_way: list[tuple[float, int, Places]] = []  # with their time and number
        self.count = 0
        """Number of commits sent, which is the number of the last one."""

    def moved(self, keys: Iterable[Key]) -> None:
        """Commit these at the end of the interval."""
        due = self._last + self._interval_s
        for key in keys:
            self._wanted.setdefault(key, due)

    def at_once(self, keys: Iterable[Key], now: float) -> None:
        """Commit these as soon as no commit is in flight."""
        for key in keys:
            self._wanted[key] = min(now, self._wanted.get(key, now))

    def due(self, now: float, *, at_last: bool = False) -> list[Key]:
        """Return the positions to commit now; none while a commit is in flight, except with `at_last`."""
        if not self._wanted:
            return []
        while self._under_way and now - self._under_way[0][0] >= UNANSWERED_S:
            self._under_way.pop(0)
        return [] if self._under_way and not at_last else [key for key, at in self._wanted.items() if at <= now]

    def sent(self, places: Places, now: float) -> None:
        """Note a commit of these positions."""
        if now >= self._last + self._interval_s:
            self._last = now
        for key, _ in places:
            self._wanted.pop(key, None)
        self.count += 1
        self._under_way.append((now, self.count, places))

    def answered(self, places: Places, refused: Collection[Key], now: float) -> int | None:
        """Note an answer; refused positions are queued again. Return the commit's number, None if it was given up."""
        found = next((one for one in self._under_way if one[2] == places), None)
        if found is None:
            return None
        self._under_way.remove(found)
        again = now + REFUSED_S
        for key, _ in places:
            if key in refused:
                self._wanted[key] = min(again, self._wanted.get(key, again))
        return found[1]

    def wanted(self, keys: Iterable[Key]) -> list[Key]:
        """Return which of these are still to be committed."""
        return [key for key in keys if key in self._wanted]

    def forget(self, keys: Iterable[Key]) -> None:
        """Drop these: they are gone, or something else has committed them."""
        for key in keys:
            self._wanted.pop(key, None)

    def under_way(self, key: Key) -> list[tuple[int, int]]:
        """Return number and position of a partition's commits without an answer, in order."""
        return [(number, offset) for _, number, places in self._under_way for one, offset in places if one == key]

    def is_under_way(self) -> bool:
        """Whether any commit has no answer yet."""
        return bool(self._under_way)

    def begin_anew(self, now: float) -> None:
        """Forget everything, because the client and its commits were closed."""
        self._last = now
        self._wanted.clear()
        self._under_way.clear()
