"""Which part of an app this process runs: names and globs of topics, consumer groups and subscription groups."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, replace

from swarm_consumer.declaring.checks import nearest
from swarm_consumer.declaring.setting_row import row
from swarm_consumer.errors import ConfigurationError
from swarm_consumer.routing.routes import Routed, SubscriptionGroup


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What to run. Empty means everything; a topic included by name stays even if a glob excludes it."""

    include_topics: Sequence[str] = row((), "Only these topics.", "Filters", unit="names")
    exclude_topics: Sequence[str] = row((), "All but these topics.", "Filters", unit="names")
    include_consumer_groups: Sequence[str] = row((), "Only these consumer groups.", "Filters", unit="names")
    exclude_consumer_groups: Sequence[str] = row((), "All but these consumer groups.", "Filters", unit="names")
    include_subscription_groups: Sequence[str] = row(
        (), "Only these subscription groups.", "Filters", unit="names", rare=True
    )
    exclude_subscription_groups: Sequence[str] = row(
        (), "All but these subscription groups.", "Filters", unit="names", rare=True
    )

    def apply(self, groups: Sequence[SubscriptionGroup]) -> list[SubscriptionGroup]:
        """Return the subscription groups to run, with their topics."""
        chosen = []
        for group in groups:
            if not _wanted(group.consumer_group, self.include_consumer_groups, self.exclude_consumer_groups):
                continue
            if not _wanted(group.name, self.include_subscription_groups, self.exclude_subscription_groups):
                continue
            routes = tuple(
                route
                for route in group.routes
                if route.active and _wanted(route.topic, self.include_topics, self.exclude_topics)
            )
            if routes:
                chosen.append(replace(group, routes=routes))
        return chosen

    def check(self, app: Routed) -> None:
        """Raise ConfigurationError for a name or glob that matches nothing, and if nothing is left to run."""
        groups = app.subscription_groups()
        known = {
            "topics": sorted({route.topic for group in groups for route in group.routes}),
            "consumer-groups": sorted({group.consumer_group for group in groups}),
            "subscription-groups": sorted({group.name for group in groups}),
        }
        for kind, names in known.items():
            for verb in ("include", "exclude"):
                for wanted in _names(getattr(self, f"{verb}_{kind.replace('-', '_')}"), f"{verb}-{kind}"):
                    if not any(fnmatch.fnmatchcase(name, wanted) for name in names):
                        raise ConfigurationError(
                            f"{verb}-{kind}: nothing is named {wanted!r}{nearest(wanted, names)} "
                            f"(there is {', '.join(names) or 'nothing'})"
                        )
        if not self.apply(groups):
            raise ConfigurationError(
                "nothing is left to run: "
                + ("the app has no active topic" if self == Selection() else "the filters exclude every topic")
            )


def _wanted(name: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    if any(fnmatch.fnmatchcase(name, glob) for glob in include):
        return True
    if include:
        return False
    return not any(fnmatch.fnmatchcase(name, glob) for glob in exclude)


def _names(given: object, where: str) -> Sequence[str]:
    if isinstance(given, str) or not isinstance(given, Sequence) or not all(isinstance(one, str) for one in given):
        raise ConfigurationError(f"{where} must be a list of names and globs, not {given!r}")
    return given
