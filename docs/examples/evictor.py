"""Removing dead members in a process of your own: how each group of an application is reached."""

from swarm_consumer import App
from swarm_consumer.admin import ClientProperties
from swarm_consumer.eviction import Evictor, access


def evictor_of(app: App) -> Evictor:
    """Return what removes members from the consumer groups of an application, for `Runtime(app, evict=...)`."""
    groups = app.subscription_groups()
    return Evictor({group.name: access(ClientProperties(group, app.client_id, None)) for group in groups})
