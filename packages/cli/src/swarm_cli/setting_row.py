"""A row of the table of settings, as the command line knows it: what it is called is the name of its field.

The rows are declared by the packages that they belong to. Importing those costs a quarter of a second, and `server` is
to do without the supervisor, so `swarm_cli.settings` is a copy of them, made by `hatch run settings`.
"""

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OWN = "cli"
"""The owner of what the command line itself decides."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One setting: what it is, which values it may have, and who takes them."""

    help: str
    section: str
    """The heading of the help."""
    owners: tuple[str, ...]
    """The packages that are given it as it is; `OWN`: the command line makes something else of it."""
    kind: str
    """text, texts, whole number, number, choice, or flag."""
    default: Any = None
    """The value where nobody gives one; None: see `unset`."""
    unit: str = ""
    """seconds, MB, share, names, or what a whole number counts."""
    above: float | None = None
    least: float | None = None
    most: float | None = None
    """The bounds that its owner holds it to."""
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    """What a shell completes, beside the choices."""
    placeholder: str = ""
    """What stands for the value in the help, where the unit and the choices do not say it."""
    rare: bool = False
    """Shown by --help-all only."""
    swarm_only: bool = False
    """Of nodes and their supervisor: `server` takes it, without effect."""
    unset: str = ""
    """What applies where nobody gives a value."""

    @property
    def bounds(self) -> str:
        """The values that it may have, in words."""
        if self.choices:
            return " | ".join(self.choices)
        low = (
            f"above {self.above:g}"
            if self.above is not None
            else ""
            if self.least is None
            else f"{self.least:g} or more"
        )
        high = "" if self.most is None else f"{self.most:g} at most"
        return ", ".join(filter(None, (low, high)))


class SettingsTable:
    """What `Settings` can say of its rows. Every field of it is ``name: Annotated[type, Row(...)] = value``."""

    def given(self, *names: str) -> dict[str, Any]:
        """Those of `names` that were set: keyword arguments that leave every other default where it is."""
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def given_to(self, owner: str) -> dict[str, Any]:
        """The settings of a package that were set, as its keyword arguments."""
        return self.given(*(name for name, row in self.rows().items() if owner in row.owners))

    @classmethod
    def rows(cls) -> Mapping[str, Row]:
        """Every row by the name of the setting."""
        return {name: hint.__metadata__[0] for name, hint in typing.get_type_hints(cls, include_extras=True).items()}
