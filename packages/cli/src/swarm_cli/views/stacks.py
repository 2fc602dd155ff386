"""The stacks of a node for an operator: the application's threads first, then Swarm's own. Pure.

The text is faulthandler's: "Thread 0x... (most recent call first):", then one line per frame, innermost first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_THREAD = re.compile(r"^(?:Current thread|Thread) (0x[0-9a-fA-F]+)(?: \[(.+?)\])?.*:$")
_FRAME = re.compile(r'^  File "(.*)", line (\d+|\?\?\?) in (.*)$')
_LIBRARIES = ("/site-packages/", "/dist-packages/", "/lib/python3", "<frozen ")
_INSTALLED = re.compile(r"/(?:site|dist)-packages/([^/]+)")
_NO_APPLICATION = frozenset({"confluent_kafka", "uvloop", "debugpy", "sentry_sdk", "opentelemetry"})
"""Installed packages that may be on a stack without the application, called by Swarm or by their own thread."""
_PACKAGES = re.compile(r"/swarm_(?:pidfd|health|supervisor|consumer|liveness|cli)/(?!_flights/)")
# The role of each Swarm thread, by a file that only its stack contains; the first match counts.
_ROLES = (
    ("/swarm_consumer/event_loop.py", "event loop of async handlers"),
    ("/swarm_consumer/workers.py", "worker"),
    ("/swarm_consumer/owner.py", "Kafka client"),
    ("/swarm_liveness/", "reporter"),
    ("/swarm_consumer/runtime.py", "main thread"),
    ("/swarm_supervisor/", "main thread"),
)


@dataclass(frozen=True)
class Frame:
    """One line of a stack."""

    file: str
    line: str
    function: str

    @property
    def of_swarm(self) -> bool:
        """Whether it is in one of Swarm's packages."""
        return _PACKAGES.search(self.file) is not None

    @property
    def of_application(self) -> bool:
        """Whether it belongs to neither Swarm nor a library."""
        return not self.of_swarm and not any(part in self.file for part in _LIBRARIES)

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


@dataclass(frozen=True)
class Thread:
    """One thread, its innermost frame first."""

    name: str
    frames: Sequence[Frame]

    @property
    def role(self) -> str:
        """Its role; its name, or "thread", if the stack does not show one."""
        for part, role in _ROLES:
            if any(part in frame.file for frame in self.frames):
                return role
        return f"thread {self.name}" if self.name else "thread"

    @property
    def place(self) -> Frame | None:
        """The innermost frame in the application; None if there is none."""
        return self.frames[inside[0]] if (inside := self._inside()) else None

    @property
    def of_interest(self) -> list[Frame]:
        """The frames from the innermost to the one where Swarm called the application."""
        return [frame for frame in self.frames[: self._inside()[-1] + 1] if not frame.of_swarm]

    def _inside(self) -> list[int]:
        """The numbers of the application's frames.

        An application that is installed as a package, as in many images, looks like a library. If no frame is outside
        of all libraries, the application is the package that Swarm called.
        """
        found = [number for number, frame in enumerate(self.frames) if frame.of_application]
        called = next((number for number, frame in enumerate(self.frames) if frame.of_swarm), 0)
        if found or not called:
            return found
        packages = [_package(frame) for frame in self.frames[:called]]
        application = next((one for one in reversed(packages) if one and one not in _NO_APPLICATION), "")
        return [number for number, package in enumerate(packages) if application and package == application]


def _package(frame: Frame) -> str:
    """The installed package of a frame; "" if none."""
    found = _INSTALLED.search(frame.file)
    return found[1].removesuffix(".py") if found else ""


def threads_of(text: str) -> list[Thread]:
    """Read a dump. A repeated thread counts once; a line that is neither thread nor frame is skipped."""
    found: dict[str, tuple[str, list[Frame]]] = {}
    frames: list[Frame] = []
    for line in text.splitlines():
        if thread := _THREAD.match(line):
            name = thread[2] or ""
            frames = []
            if thread[1] not in found:
                found[thread[1]] = (name, frames)
        elif frame := _FRAME.match(line):
            frames.append(Frame(frame[1], frame[2], frame[3]))
    return [Thread(name, frames) for name, frames in found.values()]


def short(node: int, pid: object, text: str) -> str:
    """Show where the application is in a node, thread by thread, with one line for all other threads.

    A dump that cannot be parsed is returned unchanged: too much is better than a wrong answer.
    """
    threads = threads_of(text)
    if not any(thread.frames for thread in threads):
        return f"node {node} (pid {pid})\n{text.rstrip()}\n"
    busy = [thread for thread in threads if thread.place is not None]
    rest = [thread for thread in threads if thread.place is None]
    places = ", ".join(str(thread.place) for thread in busy)
    lines = [f"node {node} (pid {pid}): {f'in {places}' if busy else 'no thread is in the application'}"]
    for thread in busy:
        lines.append(f"  {thread.role}, innermost call first:")
        lines += [f"    {frame}" for frame in thread.of_interest]
    if rest:
        roles = [thread.role for thread in rest]
        told = ", ".join(f"{roles.count(role)} x {role}" for role in dict.fromkeys(roles))
        lines.append(f"  outside the application: {told} (--all shows them)")
    return "\n".join(lines) + "\n"
