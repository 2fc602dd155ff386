"""The program swarm-cli: its commands, and nothing else.

``swarm-cli --help`` must be quick, so this module and those of the commands import neither confluent-kafka nor psutil
nor rich: a command imports what it needs when it runs.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Collection
from typing import Annotated, Any

import typer

from swarm_cli import __version__
from swarm_cli.command_table import COMMANDS, add_commands, asked_for
from swarm_cli.errors import complain
from swarm_cli.exit_codes import ExitCode
from swarm_cli.program import Program

COMPLETION = "_SWARM_CLI_COMPLETE"
"""Set by the shell when it asks for completions."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"swarm-cli {__version__}")
        raise typer.Exit


def _every_command(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.", envvar="SWARM_DEBUG")] = False,
) -> None:
    """Options of every command; `debug` is read where an error is shown."""


def program_of(names: Collection[str]) -> Program:
    """The program with these commands."""
    program = Program(
        name="swarm-cli",
        help="""Run Kafka consumers on every core: one supervisor, N forked nodes that share the application's memory.

        Example: swarm-cli swarm my_app:app --nodes 4""",
        epilog="""Exit codes: 0 done; 1 failed; 2 a wrong option, setting or application, and nothing was started;
        4 killed when the time to stop ran out; 5 crash loop; 130 interrupted. See docs/exit-codes.md.""",
    )
    program.callback()(_every_command)
    add_commands(program, names)
    return program


def __getattr__(name: str) -> Any:
    """Make the whole program if it is imported by name; `main` makes only what the command line needs."""
    if name == "program":
        globals()[name] = program_of(COMMANDS)
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main() -> None:
    """Entry point of the installed program. Parser errors are one sentence too, with exit code 2."""
    # A supervisor restores signal handlers when its run() returns; a USR2 between that and the end of the process would
    # kill it. This is done here, not in the command, because a process that calls the command continues after it.
    if "swarm" in sys.argv and signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        names = COMMANDS if COMPLETION in os.environ else asked_for(sys.argv[1:])
        sys.exit(program_of(names)(standalone_mode=False))
    except _ParserError as error:
        text = error.format_message()  # type: ignore[attr-defined]  # every parser error has this attribute
        if type(error).__name__ == "NoArgsIsHelpError":  # its text is the help, which is already printed
            typer.echo(text, nl=bool(text))
        else:
            complain(_said(text, getattr(error, "ctx", None)))
        sys.exit(ExitCode.USAGE)
    except typer.Abort:  # Ctrl-C or end of input at a prompt
        complain("nothing was done.")
        sys.exit(ExitCode.INTERRUPTED)


# Some versions of Typer have their own copy of click's exceptions, others use click: only this name is public.
_ParserError: type[Exception] = typer.BadParameter.__mro__[2]


def _said(message: str, context: typer.Context | None) -> str:
    text = " ".join(message.split()).rstrip(".")
    text = text.replace("Value error, ", "")  # added by the library that checks the value
    text = f"{text[:1].lower()}{text[1:]}"
    command = "swarm-cli" if context is None else context.command_path
    return f"{text}{' See' if text.endswith('?') else ': see'} {command} --help."
