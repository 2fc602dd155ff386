"""Errors of the command line: one sentence on stderr, an exit code, and a traceback only with --debug."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, cast

from swarm_cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from swarm_consumer.admin import AdminError

P = ParamSpec("P")

ADVICE: dict[str, tuple[str, ExitCode]] = {
    "refused": ("", ExitCode.ERROR),
    "unreachable": (
        "Check the address and that the broker runs, or give it longer with --connect-timeout.",
        ExitCode.ERROR,
    ),
    "no-servers": ("On the command line it is --bootstrap-servers HOST:PORT.", ExitCode.USAGE),
    "no-controller": ("With swarm-cli broker: --topic NAME:PARTITIONS.", ExitCode.ERROR),
    "not-shown": ("Look again with swarm-cli topics plan.", ExitCode.ERROR),
    "has-members": ("swarm-cli stop ends a swarm.", ExitCode.ERROR),
    "no-topic": ("The option for that is --exclude-topics.", ExitCode.USAGE),
    "position": ("", ExitCode.USAGE),
}
"""For each kind of AdminError: what the command line has to add, and the exit code."""


class CommandError(Exception):
    """A command cannot continue. The text is one sentence that says what to do; `exit_code` is for the shell."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.ERROR) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class UsageError(CommandError):
    """The request is wrong (exit code 2), and nothing has been started."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.USAGE)


def debugging() -> bool:
    """Whether tracebacks are wanted (``--debug`` or SWARM_DEBUG)."""
    return "--debug" in sys.argv or os.environ.get("SWARM_DEBUG", "") not in ("", "0", "false")


def settled(command: Callable[P, int]) -> Callable[P, None]:
    """Make a command return its int result as exit code and show each expected error as one sentence.

    Every package raises configuration errors as a ValueError subclass named here, so that they look the same
    from each command.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = int(command(*args, **kwargs))
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
        except BrokenPipeError:
            # The reader of the output (head, less) has closed the pipe. The interpreter flushes stdout once more at
            # exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = ExitCode.CLEAN
        except Exception as error:
            if debugging():
                raise
            text, code = sentence(error) or (_unexpected(error), ExitCode.ERROR)
            complain(text)
        sys.exit(code)

    return run


def sentence(error: Exception) -> tuple[str, int] | None:
    """The text and exit code of an expected error; None for an unexpected one."""
    if isinstance(error, CommandError):
        return str(error), error.exit_code
    if _is_one_of(error, ("swarm_consumer.errors", "AdminError")):
        return advised(cast("AdminError", error))
    if _is_configuration_error(error):
        return str(error), ExitCode.USAGE
    if _is_one_of(error, ("swarm_consumer", "WarmupError"), ("swarm_consumer", "LifespanError")):
        return f"{error} (--debug shows the traceback).", ExitCode.ERROR
    return None


def advised(error: AdminError) -> tuple[str, ExitCode]:
    """What an AdminError says, with what to do about it on the command line, and its exit code."""
    advice, code = ADVICE[error.kind]
    return f"{error} {advice}".rstrip(), code


def _unexpected(error: Exception) -> str:
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"unexpected {what}{place}: repeat the command with --debug to see the traceback, and report it."


def complain(sentence: str) -> None:
    """Write one error sentence to stderr."""
    sys.stderr.write(f"swarm-cli: {sentence}\n")
    sys.stderr.flush()


def _is_configuration_error(error: Exception) -> bool:
    return _is_one_of(
        error,
        ("swarm_consumer", "ConfigurationError"),
        ("swarm_consumer", "ForkError"),
        ("swarm_supervisor", "SettingsError"),
        ("swarm_supervisor", "ForkRefusedError"),
        ("swarm_liveness", "LivenessSettingsError"),
        ("swarm_liveness.settings", "ProbeError"),
    )


def _is_one_of(error: Exception, *known: tuple[str, str]) -> bool:
    # Only loaded modules can have raised, so nothing is imported to find out.
    classes = tuple(
        getattr(module, name) for package, name in known if (module := sys.modules.get(package)) is not None
    )
    return isinstance(error, classes)
