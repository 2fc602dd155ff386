"""The declared topics and the groups of an application that the filters select."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection
from typing import TYPE_CHECKING

from swarm_cli.composition import listed, selected
from swarm_cli.configuration import Configuration
from swarm_cli.errors import UsageError

if TYPE_CHECKING:
    from swarm_consumer import App
    from swarm_consumer.routing import DeclaredTopic, SubscriptionGroup


def declared_topics(app: App, configuration: Configuration) -> list[DeclaredTopic]:
    """The declared topics that the topic filters let through; inclusion beats exclusion.

    Raises UsageError where nothing is declared or left, and for an unknown name.
    """
    from swarm_consumer.declaring.checks import nearest

    if not app.declared_topics:
        raise UsageError(
            "the application declares no topic: say how many partitions it is to have, as in "
            '@app.topic("orders", partitions=8) or app.declare_topic("results", partitions=8).'
        )
    include = listed("include_topics", configuration.settings.include_topics)
    exclude = listed("exclude_topics", configuration.settings.exclude_topics)
    names = [topic.name for topic in app.declared_topics]
    known = sorted({*names, *(route.topic for route in app.routes)})
    for wanted in (*include, *exclude):
        if not any(fnmatch.fnmatchcase(name, wanted) for name in known):
            raise UsageError(f"no topic is named {wanted!r}{nearest(wanted, known)} (there is {', '.join(known)}).")
    chosen = [
        topic
        for topic in app.declared_topics
        if _matches(topic.name, include) or not (include or _matches(topic.name, exclude))
    ]
    if not chosen:
        raise UsageError(f"the filters leave none of the declared topics: {', '.join(names)}.")
    return chosen


def chosen_groups(app: App, configuration: Configuration) -> list[SubscriptionGroup]:
    """The subscription groups, with those of their topics, that the filters let through. Raises ConfigurationError."""
    selection = selected(configuration.settings)
    selection.check(app)
    return selection.apply(app.subscription_groups())


def _matches(name: str, globs: Collection[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs)
