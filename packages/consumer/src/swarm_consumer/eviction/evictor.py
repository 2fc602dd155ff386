"""Removes members from their group by one request (LeaveGroup), within a time that nothing can exceed.

kafka-python has waits without an end: for a handshake of TLS, for a name server, for a broker that was named in an
answer. So a thread of ours does it, and the caller waits for that thread as long as it has. What is unfinished then is
ended: the client's own thread is told to stop, which wakes ours. Only a lookup of a name, or a callback of the
application, cannot be interrupted: its thread ends with it, and there is never more than one such thread.

The first removal of a process imports kafka-python. The time for that, 0.1 to 0.3 s of CPU, is not counted: a process
that has no one to remove has 10 MB less without it.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from swarm_consumer.eviction.library import hush, io_thread_name, preload
from swarm_consumer.eviction.properties import Access, Token

logger = logging.getLogger("swarm_consumer.eviction")

END_S = 0.1
"""How much of its time a removal keeps for ending what is unfinished."""
LOAD_S = 3.0
"""How long kafka-python may take to be imported; longer: nothing is removed."""
AGAIN_S = 0.1
"""Pause before the question is asked again: the group's coordinator moves, or loads."""
_GONE = ("UnknownMemberIdError", "FencedInstanceIdError")
"""The answers for a member that has gone, or has come back under its instance id: there was nothing to do."""


_HOPELESS = re.compile("KafkaProtocolError|AuthenticationFailed|UnsupportedSaslMechanism")
"""The whole cluster would answer like that, so that nothing is asked again."""


class Member(Protocol):
    """A member of a group, as it was noted."""

    @property
    def member_id(self) -> str:
        """The id that the broker gave it."""

    @property
    def instance_id(self) -> str | None:
        """The id that it gave itself."""


class Evictor:
    """Removes dead members from groups. groups: how to reach the consumer group of each subscription group.

    Create it anywhere; call it after the fork only. It raises nothing, and says in one line what came of it.
    """

    def __init__(self, groups: Mapping[str, Access]) -> None:
        self._groups = dict(groups)
        self._lock = threading.Lock()
        self._unfinished: Removal | None = None

    def __call__(self, group: str, members: Sequence[Member], *, within_s: float = 1.0) -> None:
        """Remove members from the consumer group of a subscription group."""
        access = self._groups.get(group)
        members = [member for member in members if member.member_id]  # by the instance id alone it would hit successors
        if access is None or not members or within_s <= 0:
            return
        began = time.monotonic()
        removal = Removal(access, members, began + max(within_s / 2, within_s - END_S))
        with self._lock:
            if self._unfinished is not None and not self._unfinished.threads():
                self._unfinished = None
            stuck = self._unfinished is not None
        reason = "an earlier removal still waits for a name server" if stuck else self._carry_out(removal, within_s)
        who = f"{len(members)} member{'s' if len(members) > 1 else ''} of processes that have ended"
        took_ms = 1000 * (time.monotonic() - began)
        with contextlib.suppress(Exception):  # a broken log must not cost a start
            if reason:
                logger.warning(
                    "group %s: %s could not be removed (%s): their partitions wait until their sessions end",
                    access.group, who, access.scrub(reason),
                )  # fmt: skip
            else:
                logger.info("group %s: %s removed in %.0f ms", access.group, who, took_ms)

    def _carry_out(self, removal: Removal, within_s: float) -> str:
        """Return why it did not succeed; "" if it did."""
        end = time.monotonic() + within_s
        try:
            removal.start()
        except RuntimeError as error:  # no thread may be started here, or not any more
            return str(error)
        loading_s = removal.load(LOAD_S)
        if loading_s is not None:
            end += loading_s
            if removal.wait(removal.deadline):
                return removal.reason
        removal.abandon(end)
        if removal.threads():
            with self._lock:
                self._unfinished = removal
        if loading_s is None:
            return f"kafka-python was not imported within {LOAD_S:.1f} s"
        return removal.hopeless or f"no answer within {within_s:.1f} s{removal.first_error()}"


class Removal:
    """One request to remove members, on a thread of its own."""

    def __init__(self, access: Access, members: Sequence[Member], deadline: float) -> None:
        self._access = access
        self._members = members
        self.deadline = deadline
        self.reason = ""
        self._client: Any = None
        self._abandoned = False
        self._secret = ""
        self._first_error = ""
        self._settled = threading.Event()
        self._loaded = threading.Event()
        self._loading_s = 0.0
        self.hopeless = ""
        """Why further attempts are of no use; "" if they may be."""
        self._thread = threading.Thread(target=self.run, name="swarm-evict", daemon=True)

    def start(self) -> None:
        """Begin. Raises RuntimeError if no thread can be started."""
        self._thread.start()

    def load(self, most_s: float) -> float | None:
        """Wait until kafka-python is imported, or cannot be. Returns how long that took; None: it takes longer."""
        return self._loading_s if self._loaded.wait(most_s) else None

    def wait(self, deadline: float) -> bool:
        """Wait until it has ended; False if that took longer, or if it is hopeless."""
        self._settled.wait(max(0.0, deadline - time.monotonic()))
        if self.hopeless:
            return False
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

    def run(self) -> None:
        """Ask until there is an answer or no more time."""
        try:
            self._load()
            hush.begin(self._access.settings["client_id"], self._note_error)
            self.reason = self._ask()
        except Exception as error:  # noqa: BLE001  it becomes one sentence
            name, text = type(error).__name__, str(error)
            text = text if text.startswith(name) else f"{name}: {text}".rstrip(": ")
            self.reason = self._clean(text) + (self.first_error() if name == "KafkaTimeoutError" else "")
        finally:
            with contextlib.suppress(Exception):
                # What was abandoned was told to stop. A thread of it that is still there uses what close() would end.
                if self._client is not None and not (self._abandoned and self._io_threads()):
                    self._client.close()
            hush.end()
            self._settled.set()

    def _load(self) -> None:
        began = time.monotonic()
        try:
            preload()
        finally:
            self._loading_s = time.monotonic() - began
            self.deadline += self._loading_s
            self._loaded.set()

    def first_error(self) -> str:
        """Return the error of the first attempt, as an end of a sentence; "" without one."""
        return f": {self._first_error}" if self._first_error else ""

    def _note_error(self, text: str) -> None:
        """The first error says more than later ones, which may be our own end."""
        self._first_error = self._first_error or self._clean(text)
        if not self.hopeless and _HOPELESS.search(text):
            self.hopeless = self._clean(text)
            self._settled.set()

    def _clean(self, text: str) -> str:
        return text.replace(self._secret, "[redacted]") if self._secret else text

    def threads(self) -> list[threading.Thread]:
        """The threads of this removal that have not ended."""
        return [thread for thread in (self._thread, *self._io_threads()) if thread.is_alive()]

    def _io_threads(self) -> list[threading.Thread]:
        name = io_thread_name(self._access.settings["client_id"])
        return [thread for thread in threading.enumerate() if thread.name == name]

    def abandon(self, end: float) -> None:
        """Called by the thread that waits: let this one end, until `end` (monotonic)."""
        self._abandoned = True
        loop = getattr(self._client, "_net", None)
        with contextlib.suppress(Exception):
            if loop is not None:
                # It fails what our thread waits for. There is no public way: close() waits for the loop without an end.
                loop.stop(timeout_ms=max(1, round(1000 * (end - time.monotonic()) / 2)))
        self._thread.join(max(0.0, end - time.monotonic()))

    def _ask(self) -> str:
        from kafka.admin import KafkaAdminClient, MemberToRemove

        if self._abandoned:
            raise TimeoutError("too late")
        members = [
            MemberToRemove(
                member_id=member.member_id, group_instance_id=member.instance_id, reason="its process has ended"
            )
            for member in self._members
        ]
        left_ms = max(1, round(1000 * (self.deadline - time.monotonic())))
        admin = KafkaAdminClient(  # `run` ends it, by the client inside
            **self._access.settings,
            ssl_context=None if self._access.tls is None else self._access.tls.context(),
            sasl_oauth_token_provider=None if self._access.token is None else self._provider(self._access.token),
            kafka_client=self._kept(KafkaAdminClient.DEFAULT_CONFIG["kafka_client"]),
            bootstrap_timeout_ms=left_ms,
            request_timeout_ms=left_ms,
        )
        while True:
            try:
                answers = admin.remove_group_members(self._access.group, members)
                break
            except Exception as error:
                if not getattr(error, "retriable", False) or time.monotonic() + AGAIN_S >= self.deadline:
                    raise
                time.sleep(AGAIN_S)
        names = sorted({error.__name__ for error in answers.values()} - {"NoError", *_GONE})
        return ", ".join(names)

    def _kept(self, make: Any) -> Any:
        """Return the maker of the admin client's inner client, which keeps it: its thread outlives a failed start."""

        def client(**settings: Any) -> Any:
            if self._abandoned:
                raise TimeoutError("too late")
            self._client = make(**settings)
            return self._client

        return client

    def _provider(self, token: Token) -> Any:
        from kafka.net.sasl.oauth import AbstractTokenProvider

        removal = self

        class Provider(AbstractTokenProvider):  # type: ignore[misc]  # untyped
            def token(self) -> str:
                removal._secret, self._extensions = token()
                return removal._secret

            def extensions(self) -> dict[str, str]:
                return dict(self._extensions)

        return Provider()
