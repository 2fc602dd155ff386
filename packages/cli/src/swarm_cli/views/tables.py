"""The tables that `info` prints: of all settings, and of all figures that nodes report."""

from __future__ import annotations

from typing import Any

from swarm_cli.settings import Settings
from swarm_cli.views.table import table_lines

Rows = list[dict[str, Any]]


def setting_rows() -> Rows:
    """The table of all settings, whatever was given: what each is, and what it may be."""
    return [
        {
            "setting": name, "type": row.kind, "default": row.default if row.default is not None else row.unset,
            "unit": row.unit, "bounds": row.bounds, "of": list(row.owners),
            "in": ["swarm"] if row.swarm_only else ["swarm", "server"], "rare": row.rare, "help": row.help,
        }
        for name, row in Settings.rows().items()
    ]  # fmt: skip


def figure_rows() -> Rows:
    """The table of all figures, one row for each level at which a figure is reported."""
    from swarm_health.figures import FIGURES, LABELS

    return [
        {
            "figure": one.name, "level": level, "kind": one.kind, "unit": one.unit, "summed": one.summed,
            "metric": "" if one.metric == "-" else f"swarm_{level}_{one.ending}",
            "labels": [*LABELS[level], *([one.label[0]] if one.label[0] else [])], "help": one.help,
        }
        for level in LABELS
        for one in FIGURES
        if level in one.levels
    ]  # fmt: skip


def setting_lines() -> list[str]:
    """The table of settings as text."""
    rows = [{**row, "setting": row["setting"].replace("_", "-")} for row in setting_rows()]
    return _lines(("setting", "type", "default", "unit", "bounds", "of", "in", "help"), rows)


def figure_lines() -> list[str]:
    """The table of figures as text."""
    return _lines(("figure", "level", "kind", "unit", "summed", "metric", "labels", "help"), figure_rows())


def _lines(shown: tuple[str, ...], rows: Rows) -> list[str]:
    return table_lines([key.upper() for key in shown], [[row[key] for key in shown] for row in rows])
