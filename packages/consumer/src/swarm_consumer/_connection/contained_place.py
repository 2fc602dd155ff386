"""A note that may fail. The memory is someone else's code, and its notes are written in the middle of a run's end.

After its first error a note is left as it is, and nothing relies on it any more: commits carry no token afterwards, so
that the next owner finds a commit that is not of this claim, and starts there.
"""

from __future__ import annotations

from collections.abc import Callable

from swarm_consumer._scheduling.remembrance import Place, Suspects

Report = Callable[[BaseException], None]


class ContainedPlace:
    """A `Place` that raises nothing. report: called with the first error, maybe while a lock is held."""

    __slots__ = ("_place", "_report")

    def __init__(self, place: Place, report: Report) -> None:
        self._place: Place | None = place
        self._report = report

    def _give_up(self, error: BaseException) -> None:
        self._place = None
        self._report(error)

    @property
    def token(self) -> str:
        """What a commit under this claim carries as metadata; "" for none."""
        if (place := self._place) is not None:
            try:
                return place.token
            except BaseException as error:  # noqa: BLE001  see the module
                self._give_up(error)
        return ""

    def renew(self) -> None:
        """As `Place` says."""
        if (place := self._place) is not None:
            try:
                place.renew()
            except BaseException as error:  # noqa: BLE001  see the module
                self._give_up(error)

    def begin(self, first: int, last: int, attempt: int, *, alone: bool) -> None:
        """As `Place` says."""
        if (place := self._place) is not None:
            try:
                place.begin(first, last, attempt, alone=alone)
            except BaseException as error:  # noqa: BLE001  see the module
                self._give_up(error)

    def end(self, *, handled: bool) -> None:
        """As `Place` says."""
        if (place := self._place) is not None:
            try:
                place.end(handled=handled)
            except BaseException as error:  # noqa: BLE001  see the module
                self._give_up(error)

    def settle(self) -> None:
        """As `Place` says."""
        if (place := self._place) is not None:
            try:
                place.settle()
            except BaseException as error:  # noqa: BLE001  see the module
                self._give_up(error)

    def move(self, position: int | None, leader_epoch: int | None) -> None:
        """As `Place` says."""
        if (place := self._place) is not None:
            try:
                place.move(position, leader_epoch)
            except BaseException as error:  # noqa: BLE001  see the module
                self._give_up(error)

    def committed(self, offset: int) -> None:
        """As `Place` says."""
        if (place := self._place) is not None:
            try:
                place.committed(offset)
            except BaseException as error:  # noqa: BLE001  see the module
                self._give_up(error)

    def suspect(self, suspects: Suspects | None) -> None:
        """As `Place` says."""
        if (place := self._place) is not None:
            try:
                place.suspect(suspects)
            except BaseException as error:  # noqa: BLE001  see the module
                self._give_up(error)

    def letters(self, in_a_row: int) -> None:
        """As `Place` says."""
        if (place := self._place) is not None:
            try:
                place.letters(in_a_row)
            except BaseException as error:  # noqa: BLE001  see the module
                self._give_up(error)

    def run_on(self) -> None:
        """As `Place` says."""
        if (place := self._place) is not None:
            try:
                place.run_on()
            except BaseException as error:  # noqa: BLE001  see the module
                self._give_up(error)

    def release(self) -> None:
        """As `Place` says."""
        if (place := self._place) is not None:
            try:
                place.release()
            except BaseException as error:  # noqa: BLE001  see the module
                self._give_up(error)
