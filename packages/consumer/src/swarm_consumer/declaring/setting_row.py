"""A row of a table of settings: the field of a dataclass, with the rest of the row in its metadata.

`hatch run settings` makes options and docs/configuration.md of the rows that have a help.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any


def row(default: object, text: str = "", section: str = "", **more: object) -> Any:
    """Return the field: its default, the help and its section, and by name `unit`, `least`, `most` and `rare`.

    "{default}" in the help stands for the default.
    """
    return field(default=default, metadata={"help": text, "section": section, **more})
