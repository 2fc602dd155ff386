"""Checks of handlers at their declaration: a handler that cannot work is refused before anything runs.

Only properties known without a call are checked. A function without a signature (a compiled one)
is accepted unchecked.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from swarm_consumer._handling.consumer import Consumer, FunctionConsumer
from swarm_consumer.errors import ConfigurationError
from swarm_consumer.wording.place import place_of

HOOKS = ("initialized", "revoked", "shutdown", "tick", "eofed")
"""The hooks that are called without an argument."""


def check_consumer(consumer: type[Consumer]) -> None:
    """Raise ConfigurationError for a class whose instances could not be made or could not handle a batch."""
    name = consumer.__qualname__
    if consumer.consume is Consumer.consume:
        raise ConfigurationError(f"{name} has no consume(self, messages): define it to handle each batch")
    if inspect.isabstract(consumer):
        missing = ", ".join(sorted(getattr(consumer, "__abstractmethods__", ())))
        raise ConfigurationError(f"{name} is abstract and cannot be instantiated: define {missing}")
    _check_constructor(consumer)
    _check_method(consumer, "consume", "messages")
    for hook in HOOKS:
        if getattr(consumer, hook) is not getattr(Consumer, hook):
            _check_method(consumer, hook)
    if consumer.wrap is not Consumer.wrap:
        _check_wrap(consumer)


def function_consumer(function: Callable[..., Any]) -> type[FunctionConsumer]:
    """Return the Consumer class behind a handler function; raises ConfigurationError for one that cannot work."""
    if not callable(function) or isinstance(function, type):
        raise ConfigurationError(f"@app.consume takes a function, not {function!r}; for a class use @app.topic")
    name = getattr(function, "__qualname__", type(function).__qualname__)
    refuse_generator(function, f"the handler {name}", "handle the messages in a loop and return")
    given = _positional(function)
    if given is not None and given not in (1, 2):
        raise ConfigurationError(
            f"the handler {name} ({place_of(function)}) must take the batch, or the batch and the consumer: write "
            f"{name}(messages) or {name}(messages, consumer)"
        )
    attributes = {"function": staticmethod(function), "wants_consumer": given == 2, "__doc__": function.__doc__}
    return type(name, (FunctionConsumer,), attributes)


def check_listener(listener: Any, what: str, arguments: int) -> None:
    """Raise ConfigurationError for a callback that cannot be called with that number of arguments, or would not run."""
    name = getattr(listener, "__qualname__", type(listener).__qualname__)
    if not callable(listener) or (isinstance(listener, type) and arguments == 0):
        raise ConfigurationError(f"{what} takes a function, not {listener!r}")
    refuse_generator(listener, f"{what}: {name}", "call what it needs and return")
    if is_coroutine_function(listener):
        raise ConfigurationError(
            f"{what}: {name} ({place_of(listener)}) is async, but it is called without an event loop: make it a "
            f"plain def"
        )
    if not can_be_called(listener, arguments):
        takes = {0: "no argument", 1: "one argument"}[arguments]
        raise ConfigurationError(f"{what}: {name} ({place_of(listener)}) must take {takes}")


def refuse_generator(function: Any, what: str, remedy: str) -> None:
    """Raise ConfigurationError for a generator function: a call makes a generator, and nothing in it ever runs."""
    code = code_of(function)
    if inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
        kind = "an async generator" if inspect.isasyncgenfunction(code) else "a generator"
        raise ConfigurationError(
            f"{what} ({place_of(code)}) contains yield, which makes it {kind}: a call runs none of its code; {remedy}"
        )


def is_coroutine_function(function: Any) -> bool:
    """Whether a call returns a coroutine."""
    return inspect.iscoroutinefunction(code_of(function))


def code_of(function: Any) -> Any:
    """The function that decides the kind of a callable: itself, a partial's function, or the __call__ of an object."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function) or isinstance(function, type):
        return function
    return getattr(type(function), "__call__", function)  # noqa: B004  not a test: the method itself is wanted


def _check_constructor(consumer: type[Consumer]) -> None:
    signature = _signature(consumer)
    if signature is None:
        return
    needed = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if needed:
        raise ConfigurationError(
            f"the constructor of {consumer.__qualname__} needs {', '.join(needed)}, but Swarm makes one "
            f"instance for each partition and has no arguments to pass: use self.state (see App.lifespan) or give it "
            f"a default"
        )


def _check_method(consumer: type[Consumer], method: str, *arguments: str) -> None:
    found = inspect.getattr_static(consumer, method)
    bound = not isinstance(found, staticmethod)
    function = getattr(found, "__func__", found)
    if not callable(function) and hasattr(function, "__get__"):
        function = getattr(consumer, method)  # a partialmethod or the like: what the class makes of it
    wanted = f"{method}({', '.join(['self', *arguments] if bound else arguments)})"
    what = f"{consumer.__qualname__}.{method}()"
    if not callable(function):
        raise ConfigurationError(f"{what} is a hook, but {found!r} is not callable: write def {wanted}")
    refuse_generator(function, what, "handle everything in it and return")
    if not can_be_called(function, len(arguments) + bound):
        raise ConfigurationError(f"{what} ({place_of(function)}) has the wrong parameters: write def {wanted}")


def _check_wrap(consumer: type[Consumer]) -> None:
    found = inspect.getattr_static(consumer, "wrap")
    function = getattr(found, "__func__", found)
    inner = getattr(function, "__wrapped__", None)
    what = f"{consumer.__qualname__}.wrap()"
    if inspect.isgeneratorfunction(function):
        raise ConfigurationError(
            f"{what} ({place_of(function)}) is a bare generator: put @contextlib.contextmanager above it"
        )
    if inspect.isasyncgenfunction(function) or inspect.isasyncgenfunction(inner) or is_coroutine_function(function):
        raise ConfigurationError(
            f"{what} ({place_of(inner or function)}) is async, but it surrounds hooks on a worker thread: make it a "
            f"plain def under @contextlib.contextmanager"
        )
    _check_method(consumer, "wrap", "action")


def _signature(function: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (ValueError, TypeError):  # compiled, and without a text signature
        return None


def can_be_called(function: Any, arguments: int) -> bool:
    """Whether a call with that number of positional arguments fits the signature; True if unknown."""
    signature = _signature(function)
    if signature is None:
        return True
    try:
        signature.bind(*[None] * arguments)
    except TypeError:
        return False
    return True


def _positional(function: Any) -> int | None:
    """The number of arguments to pass to a handler function: 1, 2, 0 if neither works; None if unknown."""
    signature = _signature(function)
    if signature is None:
        return 1
    required = sum(
        parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        for parameter in signature.parameters.values()
    )
    wanted = max(1, required)
    return wanted if wanted <= 2 and can_be_called(function, wanted) else 0
