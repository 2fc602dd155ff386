"""The program swarm-cli: its commands, and nothing else.

``swarm-cli --help`` must be quick, so this module and those of the commands import neither confluent-kafka nor psutil
nor rich: a command imports what it needs when it runs.
"""

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
"""Set by the shell when it asks how a command line may go on."""


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
        4 killed when the time to stop ran out; 5 crash loop; 130 interrupted. docs/exit-codes.md tells more.""",
    )
    program.callback()(_every_command)
    add_commands(program, names)
    return program


def __getattr__(name: str) -> Any:
    """Make the whole program when it is imported by name; `main` makes only what the command line asks for."""
    if name == "program":
        globals()[name] = program_of(COMMANDS)
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main() -> None:
    """Entry point of the installed program. What the parser refuses is one sentence too, and exit code 2."""
    # A supervisor gives handlers back when its run() returns: a USR2 between that and the end of the process would kill
    # it. Here, and not where the command runs, because a process that calls the command goes on after it.
    if "swarm" in sys.argv and signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        names = COMMANDS if COMPLETION in os.environ else asked_for(sys.argv[1:])
        sys.exit(program_of(names)(standalone_mode=False))
    except _ParserError as error:
        text = error.format_message()  # type: ignore[attr-defined]  # every parser error has it
        if type(error).__name__ == "NoArgsIsHelpError":  # its text is the help, which rich has printed already
            typer.echo(text, nl=bool(text))
        else:
            complain(_said(text, getattr(error, "ctx", None)))
        sys.exit(ExitCode.USAGE)
    except typer.Abort:  # Ctrl-C, or the end of the input, at a question
        complain("nothing was done.")
        sys.exit(ExitCode.INTERRUPTED)


# Typer has its own copy of click's exceptions in some versions, and click itself in others: only this name is public.
_ParserError: type[Exception] = typer.BadParameter.__mro__[2]


def _said(message: str, context: typer.Context | None) -> str:
    text = " ".join(message.split()).rstrip(".")
    text = text.replace("Value error, ", "")  # of the library that checks the value, for its own users
    text = f"{text[:1].lower()}{text[1:]}"
    command = "swarm-cli" if context is None else context.command_path
    return f"{text}{' See' if text.endswith('?') else ': see'} {command} --help."
