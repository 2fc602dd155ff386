"""`swarm-cli init FOLDER`: a small working project."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from swarm_cli.errors import settled


@settled
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Target folder; its name becomes the project's name.")
    ],
    name: Annotated[
        str | None,
        typer.Option(help="Project name, if it differs from the folder's.", metavar="NAME", show_envvar=False),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write into a folder that already has files.", show_envvar=False)
    ] = False,
) -> int:
    """Write a small project: an app, tests that use the test kit, a Dockerfile and instructions.

    Its tests pass unchanged. Existing files are never overwritten.

    Example: swarm-cli init order-totals
    """
    from swarm_cli.project import write_project

    project = write_project(folder, name, into_existing=force)
    typer.echo(f"Wrote {len(project.files)} files to {folder.resolve()}. Next:")
    into = () if folder.resolve() == Path.cwd() else (f"cd {shlex.quote(str(folder))}",)
    for line in (*into, "pip install -e '.[test]'", "pytest"):
        typer.echo(f"    {line}")
    typer.echo("Its README.md explains how to run it.")
    return 0
