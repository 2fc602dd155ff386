"""Shared by the commands on a running swarm: options, errors, output."""

import functools
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec

import typer

from swarm_cli.errors import CommandError, settled

P = ParamSpec("P")

Control = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|PID|PATH",
        help="The swarm's name, its supervisor's pid or its control socket (default: the only one running).",
        envvar="SWARM_CONTROL",
        show_envvar=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.", envvar="SWARM_JSON", show_envvar=False)]
Wait = Annotated[
    bool,
    typer.Option("--wait/--no-wait", help="Wait until it is done.", envvar="SWARM_WAIT", show_envvar=False),
]


def timeout_option(text: str) -> Any:
    """An option --timeout in seconds."""
    return typer.Option(metavar="SECONDS", min=0, help=text, envvar="SWARM_TIMEOUT", show_envvar=False)


Timeout = Annotated[float, timeout_option("Stop waiting after SECONDS (exit 1); the operation continues.")]


def operation(command: Callable[P, int]) -> Callable[P, None]:
    """Make a command on a running swarm: expected errors, and refusals of its supervisor, are one sentence."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        from swarm_supervisor import ControlError

        try:
            return command(*args, **kwargs)
        except ControlError as error:
            raise CommandError(with_full_stop(str(error))) from error

    made = settled(run)
    made.on_running_swarm = True  # type: ignore[attr-defined]  # its group in the help
    return made


def reason(command: str) -> str:
    """The reason for the supervisor's log and events: the command and the user."""
    user = os.environ.get("USER") or f"uid {os.getuid()}"
    return f"swarm-cli {command}, by {user}"


def with_full_stop(text: str) -> str:
    """The text with a full stop at its end."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def say(line: str) -> None:
    """Write one line to stdout and flush it, because stdout may be a pipe with a live reader."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def say_json(value: Any, *, indented: bool = False) -> None:
    """Write one JSON document: dataclasses, msgspec's structs and plain values; anything else as its text."""
    import msgspec

    try:
        text = msgspec.json.encode(value, enc_hook=str)
    except UnicodeEncodeError:  # a lone surrogate, as in a file name that is not UTF-8
        import json

        text = json.dumps(msgspec.to_builtins(value, enc_hook=str, str_keys=True)).encode()
    say((msgspec.json.format(text) if indented else text).decode())


def coloured() -> bool:
    """Whether stdout is a terminal with colours enabled (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
