"""How this wing asks a cluster: one loop that asks again, one unwrapping of futures, one wording of failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException

from swarm_consumer.errors import AdminError
from swarm_consumer.kafka.client_errors import PASSING_ERRORS
from swarm_consumer.kafka.clients import KafkaClients
from swarm_consumer.kafka.connection_reasons import connection_reason
from swarm_consumer.kafka.redaction import scrub

LOOK_S = 0.1
"""Longest pause between two looks at something that the cluster does not announce."""
WORTH_A_WORD_S = 3.0
"""A wait that is shorter than this is not announced."""
CLIENTS = KafkaClients(log_level=0)
"""Makes clients that only ask: what fails is raised, and their log would be in the way."""
MOST_REASONS = 100
"""Distinct lines of the client that are kept."""

T = TypeVar("T")


class UnansweredError(Exception):
    """A question without an answer: what the client said last (with its code), or that the time is up."""

    def __init__(self, problem: str, code: int | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.code = code


def passes(error: KafkaError) -> bool:
    """Whether a coordinator or a leader only moves or loads."""
    return error.code() in PASSING_ERRORS


def always(error: KafkaError) -> bool:
    """Ask again, whatever the error is."""
    return True


def never(error: KafkaError) -> bool:
    """Take every error as the answer."""
    return False


def result_of(future: Future[T], timeout_s: float) -> T:
    """Return what a future of the admin client brings; raises KafkaException, or TimeoutError when it brings nothing.

    The client's own time-out comes first, since it has a reason: `timeout_s` is that of the request.
    """
    return future.result(timeout_s + 1)


def shows(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Look until a condition holds; return False when it does not within timeout_s seconds."""
    deadline = time.monotonic() + timeout_s
    pause_s = LOOK_S / 8
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause_s)
        pause_s = min(LOOK_S, 2 * pause_s)
    return True


class Questions:
    """Asks one cluster with one deadline for each question, and knows why its clients cannot connect."""

    def __init__(
        self,
        servers: str,
        timeout_s: float,
        secrets: Collection[str],
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self.servers = servers
        self.timeout_s = timeout_s
        self.poll: Callable[[float], object] | None = None
        """The poll() of a client; it calls `note`, which has the reason of a failure."""
        self._secrets = secrets
        self._reasons: dict[str, None] = {}
        self._on_wait = on_wait

    def client_properties(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the properties of a client that only asks: no member of a group, no commits of its own."""
        properties = dict(given)
        properties.pop("group.instance.id", None)  # asking is not joining
        return properties | {"enable.auto.commit": False, "statistics.interval.ms": 0}

    def note(self, error: KafkaError) -> None:
        """Remember what a client says about its connections."""
        if len(self._reasons) < MOST_REASONS:
            self._reasons.setdefault(error.str())

    def reason(self, problem: str = "") -> str:
        """Return why no broker answers, without secrets; `problem`: the error of the call itself."""
        return self.scrub(connection_reason(self._reasons, connection_reason([problem]))).rstrip(".")

    def scrub(self, text: str) -> str:
        """Return the text without secrets."""
        return scrub(text, self._secrets)

    def until(self, question: Callable[[float], T], again: Callable[[KafkaError], bool] = passes) -> T:
        """Ask until there is an answer, and again after an error that `again` accepts, within the deadline.

        The question is given the seconds that are left. Raises UnansweredError.
        """
        if self.timeout_s <= 0:
            raise UnansweredError("")
        deadline = time.monotonic() + self.timeout_s
        while True:
            left = max(0.1, deadline - time.monotonic())
            code: int | None = None
            try:
                return question(left)
            except FutureTimeoutError:
                problem, passing = f"no answer within {self.timeout_s:g} s", True
            except KafkaException as error:
                cause: KafkaError = error.args[0]
                problem, code, passing = cause.str(), cause.code(), again(cause)
            # Raised outside of the handlers: their errors have frames of the client, which keep it and its threads.
            if self.poll is not None:
                self.poll(0)
            if not passing or time.monotonic() >= deadline:
                raise UnansweredError(problem, code)
            self._tell_once(left)
            time.sleep(min(LOOK_S, left))

    def ask(self, question: Callable[[float], T], failure: str, again: Callable[[KafkaError], bool] = passes) -> T:
        """Ask as `until` does. Raises AdminError that begins with `failure`."""
        try:
            return self.until(question, again)
        except UnansweredError as error:
            raise self.refusal(failure, error) from None

    def result(self, future: Future[T], failure: str) -> T:
        """Return what a future brings. Raises AdminError that begins with `failure`."""
        return self.ask(lambda left: result_of(future, left), failure, never)

    def reach(self, question: Callable[[float], T]) -> T:
        """Ask what any broker answers. Raises AdminError ("unreachable") with the reason."""
        try:
            return self.until(question, always)
        except UnansweredError as error:
            raise AdminError(
                f"no broker answers at {self.servers} within {self.timeout_s:g} s: {self.reason(error.problem)}.",
                "unreachable",
            ) from None

    def refusal(self, failure: str, error: UnansweredError) -> AdminError:
        """Return the sentence for a question that was refused or not answered."""
        return AdminError(f"{failure}: {self.scrub(error.problem).rstrip('.')}.")

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until the cluster shows what was changed. Raises AdminError ("not-shown")."""
        if not shows(condition, self.timeout_s):
            raise AdminError(f"waited {self.timeout_s:g} s for {what}.", "not-shown")

    def _tell_once(self, left: float) -> None:
        """Tell as soon as there is a reason: a command that says nothing for its whole time-out looks hung."""
        if self._on_wait is not None and self._reasons and left > WORTH_A_WORD_S:
            tell, self._on_wait = self._on_wait, None
            tell(f"no broker answers at {self.servers} yet: {self.reason()}; trying for {self.timeout_s:g} s")
