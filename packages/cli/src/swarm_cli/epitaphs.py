"""What the supervisor writes about each process that ended, for the next owner of its partitions.

    how it ended                                              verdict
    gracefully; did not finish in time for a stop or a turn   IN_ORDER: nothing is suspected
    did not finish in time because of its memory              SUSPECT: what it had in hand is tried alone
    killed from outside; its exit status is not known         SUSPECT
    a fault (SIGSEGV and the like), an exit code of its own   COUNTS: a death of what it had in hand
    killed, and the OOM killer was at work                    COUNTS
    silent, or a batch took too long, and it did not stop     HUNG: counts where hangs count
    unhealthy for another reason, and it did not stop         SUSPECT: nothing says that a message is to blame

A death that a message explains is no crash of the program, so it does not count for a crash loop. Explained is a death
with one message alone in its process, the first times that a node dies with it. Each message that was found in this way
also explains one later death in company, because every message that kills begins with one; the first of those counts.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from swarm_consumer.progress import Epitaph, Verdict
from swarm_health import Status
from swarm_supervisor.events import End, NodeExited, NodeStopping, StacksDumped

if TYPE_CHECKING:
    from collections.abc import Callable

    from swarm_consumer.progress import ProgressMemory
    from swarm_supervisor import Supervisor

logger = logging.getLogger("swarm_cli")

EXCUSED_ALONE = 3
"""How many deaths of one message are excused. Beyond that everything may be at fault, and that is a crash loop."""
MOST_ONCE = 10
"""How many messages in a row may explain one death each. A program that dies a moment after each start has another one
in hand each time."""
MOST_EXCUSED = 1000
"""For how many messages it is known how often they were an excuse."""
_HANDLER = " in _reach\n"
"""The frame that calls a handler, in a dump of stacks."""

_VERDICTS: dict[End, Verdict] = {
    End.GRACEFUL: Verdict.IN_ORDER,
    End.OVERRAN: Verdict.IN_ORDER,
    End.HUNG: Verdict.SUSPECT,
    End.ON_ITS_OWN: Verdict.COUNTS,
    End.KILLED: Verdict.SUSPECT,
    End.OUT_OF_MEMORY: Verdict.COUNTS,
    End.UNKNOWN: Verdict.SUSPECT,
}


def verdict_of(end: End, cause: str, status: int) -> Verdict:
    """Return what an end says about the messages in hand. status: the last one that the process reported."""
    if end is End.OVERRAN and (cause == "memory" or status == Status.MEMORY):  # the latter with a spare in its place
        return Verdict.SUSPECT
    if end is End.HUNG and (cause == "silent" or status == Status.CONSUMING):
        return Verdict.HUNG
    return _VERDICTS[end]


def stack_of_handlers(text: str) -> str:
    """Return the part of a dump that shows where handlers are; all of it if no thread is in one."""
    threads = [f"{thread}\n" for thread in text.split("\n\n")]
    inside = [thread.partition(_HANDLER)[0].rpartition("\n")[0] for thread in threads if _HANDLER in thread]
    return "\n\n".join(inside) or text


class Epitaphs:
    """Listens to a supervisor: each end is written down before the next process of that node is forked."""

    def __init__(self, memory: ProgressMemory, excuse: Callable[[int, int, str], object]) -> None:
        self._memory = memory
        self._excuse = excuse
        self._status: dict[tuple[int, int], int] = {}
        self._stacks: dict[tuple[int, int], str] = {}
        self._excused: dict[tuple[int, int], int] = {}
        """How often each node was excused by the message at an offset. Notes only count what counts, so no hang."""
        self._once: dict[int, int] = {}
        """How many messages in a row have explained one death each, by node."""
        self._credit = 0  # how many deaths in company are explained by messages that were found

    def attach(self, supervisor: Supervisor) -> None:
        """Listen."""
        supervisor.on(NodeStopping)(self.stopping)
        supervisor.on(StacksDumped)(self.dumped)
        supervisor.on(NodeExited)(self.exited)

    def stopping(self, event: NodeStopping) -> None:
        """Note the status for which a process is stopped."""
        self._status.setdefault((event.node_id, event.generation), event.status)

    def dumped(self, event: StacksDumped) -> None:
        """Note where a process is."""
        self._stacks[event.node_id, event.generation] = event.text

    def exited(self, event: NodeExited) -> None:
        """Write the epitaph of a process, and excuse its end if a message explains it."""
        life = event.node_id, event.generation
        status, stack = self._status.pop(life, 0), self._stacks.pop(life, "")
        verdict = verdict_of(event.end, event.cause, status)
        reason = f"{event.status}: {event.reason}" if event.reason else event.status
        told = stack_of_handlers(stack) if verdict is Verdict.HUNG else ""
        self._memory.epitaph(*life, Epitaph(verdict, reason, told))
        if event.planned or verdict not in (Verdict.COUNTS, Verdict.HUNG):
            return
        if why := self._explanation(*life):
            self._excuse(*life, why)

    def _explanation(self, node_id: int, generation: int) -> str:
        """What explains a death; "" if nothing does."""
        notes = self._memory.in_hand(node_id, generation)
        if not notes:
            return ""
        in_hand, suspects = notes[0]
        if len(notes) == 1 and in_hand.alone and in_hand.first == in_hand.last:
            again = suspects is not None and suspects.culprit == in_hand.first
            before = suspects.deaths_alone if suspects is not None and again else 0
            if before == 1:
                self._credit += 1
            times = max(before, self._excused.get((node_id, in_hand.first), 0))
            self._once[node_id] = 0 if times else self._once.get(node_id, 0) + 1
            if times >= EXCUSED_ALONE or self._once[node_id] > MOST_ONCE:
                return ""
            self._count(node_id, in_hand.first)
            return f"one message, at offset {in_hand.first}, was alone in it"
        self._once.pop(node_id, None)
        if self._credit:
            self._credit -= 1
            return "a message that it had in hand, as others were found to do before"
        return ""

    def _count(self, node_id: int, offset: int) -> None:
        times = self._excused.pop((node_id, offset), 0)
        self._excused[node_id, offset] = times + 1  # now the youngest one
        if len(self._excused) > MOST_EXCUSED:
            del self._excused[next(iter(self._excused))]
