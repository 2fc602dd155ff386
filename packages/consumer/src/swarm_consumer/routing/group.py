"""A consumer group with its own properties and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from swarm_consumer._handling.consumer import Consumer
from swarm_consumer.declaring.checks import check_name
from swarm_consumer.routing.property_checks import check_properties
from swarm_consumer.routing.routes import placed
from swarm_consumer.routing.settings import check_defaults

if TYPE_CHECKING:
    from typing import Unpack

    from swarm_consumer.routing.settings import TopicOptions

ConsumerClass = TypeVar("ConsumerClass", bound=type[Consumer])
Function = TypeVar("Function", bound=Callable[..., Any])


class Declaring(Protocol):
    """Where a group's topics are declared: its `App`."""

    settings: dict[str, Any]

    def topic(
        self, *names: str, group: str | None = None, **options: Unpack[TopicOptions]
    ) -> Callable[[ConsumerClass], ConsumerClass]:
        """See `App.topic`."""

    def consume(
        self, *names: str, group: str | None = None, **options: Unpack[TopicOptions]
    ) -> Callable[[Function], Function]:
        """See `App.consume`."""


class Group:
    """A consumer group with its own settings: ``app.group("delays", kafka={...}).topic("flights")``."""

    def __init__(self, app: Declaring, name: str, kafka: Mapping[str, Any] | None, settings: Mapping[str, Any]) -> None:
        check_name(name, "a consumer group's name", "group")
        check_properties({} if kafka is None else kafka, f"group {name!r}")
        check_defaults({**app.settings, **settings}, f"group {name!r}", settings)
        self.app = app
        self.name = name
        self.properties = placed(kafka or {}, f"group {name!r}")
        self.settings = dict(settings)

    def topic(self, *names: str, **options: Unpack[TopicOptions]) -> Callable[[ConsumerClass], ConsumerClass]:
        """Do what `App.topic` does, in this group."""
        return self.app.topic(*names, group=self.name, **options)

    def consume(self, *names: str, **options: Unpack[TopicOptions]) -> Callable[[Function], Function]:
        """Do what `App.consume` does, in this group."""
        return self.app.consume(*names, group=self.name, **options)
