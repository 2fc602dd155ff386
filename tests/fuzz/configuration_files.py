"""What must hold for whatever stands in swarm.toml, in pyproject.toml and in SWARM_KAFKA."""

import dataclasses
import os
import tempfile
import tomllib  # noqa: F401  the reader imports it late, and what is imported late would not guide the search
import typing
from pathlib import Path

from swarm_cli.configuration import DEFAULT, FileSettings, read_file, resolve
from swarm_cli.errors import UsageError
from swarm_cli.settings import Settings

PACKAGES = ["swarm_cli.configuration", "tomllib"]
_kept = tempfile.TemporaryDirectory(prefix="fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
OWN = Path(_kept.name) / "own"
PROJECT = Path(_kept.name) / "project"
for folder in (OWN, PROJECT):
    folder.mkdir()
KINDS = typing.get_type_hints(Settings)
NAMES = {field.name for field in dataclasses.fields(Settings)} | {"app"}
FIT_FOR_THE_ENVIRONMENT = str.maketrans({"\0": "0"})


def check_sentence(text):
    """What is wrong is told in one line that is fit for a terminal."""
    assert text.isprintable(), repr(text)


def check(data):
    """Raise if anything but a `UsageError` comes of it; the first byte says where it stands."""
    where, content = (data[0] if data else 0) % 3, data[1:]
    try:
        if where == 2:
            text = os.fsdecode(content).translate(FIT_FOR_THE_ENVIRONMENT)
            configuration = resolve({}, lambda _: False, {"SWARM_KAFKA": text}, FileSettings(DEFAULT))
        else:
            folder = (OWN, PROJECT)[where]
            (folder / ("swarm.toml", "pyproject.toml")[where]).write_bytes(content)
            file = read_file(folder)
            assert file.values.keys() <= NAMES
            for name, value in file.values.items():
                assert name == "app" or isinstance(value, KINDS[name]), f"{name} = {value!r}"
            configuration = resolve({}, lambda _: False, {}, file)
            for name, value in file.values.items():
                assert name == "app" or getattr(configuration.settings, name) == value
            assert configuration.app == file.values.get("app")
    except UsageError as error:
        check_sentence(str(error))
        return
    for _, properties in configuration.kafka:
        assert all(isinstance(key, str) and isinstance(value, str) for key, value in properties.items())
