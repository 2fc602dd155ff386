"""An application's hooks into the life of its process: warm-up before any fork, a lifespan per node, swarm events.

They are only declared here. `lifespan.py` runs the lifespan; swarm events are plain names, because this package
does not know the supervisor; swarm-cli connects the two.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from swarm_consumer._handling import handlers
from swarm_consumer.declaring.checks import check_name, declared
from swarm_consumer.errors import ConfigurationError, SwarmConsumerError, WarmupError
from swarm_consumer.wording.place import Place, caller, place_in
from swarm_consumer.wording.plain_text import describe

Function = TypeVar("Function", bound=Callable[..., Any])
MakeContext = Callable[[Any], Any]
"""A lifespan as a function: given the node, it returns a context manager, sync or async."""


@dataclass(frozen=True)
class Hook:
    """A function with the place of its declaration."""

    function: Callable[..., Any]
    place: str

    @property
    def name(self) -> str:
        """The function's name."""
        return getattr(self.function, "__qualname__", type(self.function).__qualname__)

    def __str__(self) -> str:
        return f"{self.name} ({self.place})"


@dataclass(frozen=True)
class SwarmHook(Hook):
    """A listener for one event of the supervisor, by its name."""

    event: str = ""


class Hooks:
    """The hooks of one app."""

    def __init__(self) -> None:
        self.warmups: list[Hook] = []
        self.lifespan: Hook | None = None
        self.swarm: list[SwarmHook] = []
        self._warmed = 0

    def add_warmup(self, function: Callable[..., Any], place: Place) -> None:
        """Add a function without arguments; raises ConfigurationError for one that could not be called so."""
        handlers.check_listener(function, "@app.warmup", 0)
        self.warmups.append(Hook(function, str(place)))

    def set_lifespan(self, function: Callable[..., Any], place: Place) -> None:
        """Set the lifespan; raises ConfigurationError for a second one and for anything but a context manager."""
        if self.lifespan is not None:
            raise ConfigurationError(
                f"the app already has a lifespan, {self.lifespan}: enter both in one, with contextlib.ExitStack"
            )
        name = getattr(function, "__qualname__", repr(function))
        if not callable(function):
            raise ConfigurationError(f"@app.lifespan takes a function of the node, not {function!r}")
        if handlers.is_coroutine_function(function):
            raise ConfigurationError(
                f"the lifespan {name} is a coroutine without yield: add a `yield` at the point where the node works"
            )
        if not handlers.can_be_called(function, 1):
            raise ConfigurationError(f"the lifespan {name} must take the node: write def {name}(node)")
        self.lifespan = Hook(function, str(place))

    def add_swarm(self, names: tuple[str, ...], function: Callable[..., Any], place: Place) -> None:
        """Add a listener of events of a supervisor; whether the names exist is checked by who runs one."""
        handlers.check_listener(function, "@app.on_swarm", 1)
        self.swarm += [SwarmHook(function, str(place), name) for name in names]

    def warm_up(self) -> None:
        """Call the warm-ups not called yet, in order. Raises WarmupError with the place of a failure.

        In a node forked later they count as called.
        """
        while self._warmed < len(self.warmups):
            hook = self.warmups[self._warmed]
            self._warmed += 1
            try:
                hook.function()
            except (KeyboardInterrupt, SwarmConsumerError):
                raise
            except BaseException as error:
                raise WarmupError(f"the warm-up {hook} failed: {blame(error)}") from error


def blame(error: BaseException) -> str:
    """Return an error as one line, with the user's line that raised it."""
    return f"{describe(error)}{place_in(error)}"


class Hooked:
    """The decorators of an app for hooks into the life of its process."""

    hooks: Hooks

    def warmup(self, function: Function) -> Function:
        """Decorate a function to call once before the first fork, in the supervisor; in one process before the start.

        Load data here that nodes share: tables, models. Connections belong in `lifespan`.
        """
        place = caller()
        with declared(place):
            self.hooks.add_warmup(function, place)
        return function

    def lifespan(self, function: Function) -> Function:
        """Decorate a context manager that is entered once in each node process, around all its work.

        It takes the node (`NodeInfo`); what it yields is ``consumer.state``. A generator function with one yield, sync
        or async, or anything that returns a context manager. An async one runs on the loop of the async handlers.
        """
        place = caller()
        with declared(place):
            self.hooks.set_lifespan(function, place)
        return function

    def on_swarm(self, *events: str) -> Callable[[Function], Function]:
        """Decorate a listener of a supervisor's events, by name: ``@app.on_swarm("NodeExited", "CrashLoop")``.

        swarm-cli checks the names and calls it: in the supervisor, ``NodeStarted`` in the node. It must not block. In
        one process there is no supervisor, and it is never called.
        """
        place = caller()
        with declared(place):
            if not events:
                raise ConfigurationError('@app.on_swarm needs the name of an event, such as "NodeExited"')
            for event in events:
                check_name(event, "an event", "@app.on_swarm")

        def declare(function: Function) -> Function:
            with declared(place):
                self.hooks.add_swarm(events, function, place)
            return function

        return declare


def context_maker(function: Callable[..., Any]) -> MakeContext:
    """Return the function that creates the context manager; generator functions are converted."""
    if inspect.isasyncgenfunction(function):
        return contextlib.asynccontextmanager(function)
    if inspect.isgeneratorfunction(function):
        return contextlib.contextmanager(function)
    return function
