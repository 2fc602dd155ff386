"""`swarm-cli init FOLDER`: a small project that works."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from swarm_cli.errors import settled


@settled
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to; its name becomes the project's.")],
    name: Annotated[
        str | None, typer.Option(help="The project's name, if not the folder's.", metavar="NAME", show_envvar=False)
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also write into a folder that has files.", show_envvar=False)
    ] = False,
) -> int:
    """Write a small project: an app, tests that use the test kit, a Dockerfile and instructions.

    It passes its own tests as it is. No existing file is ever overwritten.

    Example: swarm-cli init order-totals
    """
    from swarm_cli.project import write_project

    project = write_project(folder, name, into_existing=force)
    typer.echo(f"Wrote {len(project.files)} files to {folder.resolve()}. Next:")
    into = () if folder.resolve() == Path.cwd() else (f"cd {shlex.quote(str(folder))}",)
    for line in (*into, "pip install -e '.[test]'", "pytest"):
        typer.echo(f"    {line}")
    typer.echo("README.md in it says how to run it.")
    return 0
