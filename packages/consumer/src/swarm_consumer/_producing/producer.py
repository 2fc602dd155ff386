"""The node's producer: created on first use, in the process that uses it. Deliveries are awaited before progress."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import confluent_kafka

from swarm_consumer._payloads.codec import DEFAULT, Codec, encode, encoded, joined
from swarm_consumer._producing.deliveries import Deliveries, Delivery
from swarm_consumer._producing.transactions import Transactions, TransactionScope
from swarm_consumer.errors import ConfigurationError, DeliveryError, ForkError
from swarm_consumer.kafka.client_errors import kafka_error_of
from swarm_consumer.kafka.clients import ClientFactory, KafkaClients
from swarm_consumer.kafka.fork_guard import Origin
from swarm_consumer.kafka.redaction import scrub, secrets_of


class Producer:
    """One librdkafka producer of this process, safe to use from all its threads."""

    def __init__(
        self,
        properties: Mapping[str, Any],
        on_error: Callable[[confluent_kafka.KafkaError], None] | None = None,
        logger: Any = None,
        on_undelivered: Callable[[DeliveryError], None] | None = None,
        *,
        clients: ClientFactory | None = None,
        codec_of: Callable[[str], Codec] | None = None,
    ) -> None:
        self._properties = dict(properties)
        self._on_error = on_error
        self._codec_of = codec_of or (lambda topic: DEFAULT)
        self._clients = clients or KafkaClients(logger=logger)
        self._on_undelivered = on_undelivered
        self._lock = threading.Lock()
        self._client: confluent_kafka.Producer | None = None
        self._origin = Origin(0)
        self._closed = False
        self.fatal_error: str | None = None
        self.transactions = Transactions(lambda: self.client, self._flush, self._note_fatal)

    @property
    def client(self) -> confluent_kafka.Producer:
        """The client's producer, created now if there is none yet.

        Raises ForkError in a process forked after that, and DeliveryError once the node has stopped.
        """
        client = self._client
        if client is None:
            with self._lock:
                client = self._client
                if client is None:
                    if self._closed:
                        raise DeliveryError("the node has stopped, so nothing more can be sent")
                    client = self._create()
        if not self._origin.is_here:
            raise ForkError(
                f"this producer was made in process {self._origin.pid} and is used in {Origin().pid}: its messages "
                f"would be lost; use it for the first time after the fork"
            )
        return client

    @property
    def used(self) -> bool:
        """Whether the client's producer exists."""
        return self._client is not None

    def produce(
        self,
        topic: str,
        value: Any = None,
        *,
        key: Any = None,
        headers: Any = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        codec: Codec | None = None,
        timeout: float = 30.0,
        deliveries: tuple[Deliveries, ...] = (),
        told: bool = False,
    ) -> Delivery:
        """Queue a message to be sent; `codec`, or that of its topic, encodes the value.

        If the local queue is full, wait up to `timeout` seconds, then raise DeliveryError.

        For a direct call only the `Delivery` can wait for the message; a failure that no one waits for
        is reported as ErrorOccurred. `deliveries` and `told` are for the runtime, which waits for its runs' messages.
        """
        payload, added = encoded(self._codec_of(topic) if codec is None else codec, value)
        encoded_key = encode(key)
        client = self.client
        delivery = Delivery(self.await_all, topic, deliveries, None if told else self._on_undelivered)
        options: dict[str, Any] = {}
        if partition is not None:
            options["partition"] = partition
        if timestamp_ms is not None:
            options["timestamp"] = timestamp_ms
        if headers is not None or added:
            options["headers"] = joined(headers, added)
        deadline = time.monotonic() + timeout
        for group in deliveries:
            group.added()
        try:
            while True:
                try:
                    client.produce(topic, payload, encoded_key, on_delivery=delivery._answered, **options)
                    break
                except BufferError:
                    if time.monotonic() >= deadline:
                        raise DeliveryError(
                            f"not queued for {topic}: the local queue stayed full for {timeout:g} s; is the broker "
                            f"reachable, or queue.buffering.max.messages too small?"
                        ) from None
                    self._serve(client.poll, 0.05)
        except confluent_kafka.KafkaException as error:
            for group in deliveries:
                group.removed()
            raise DeliveryError(f"not queued for {topic}: {error.args[0].str()}") from error
        except BaseException:
            for group in deliveries:
                group.removed()
            raise
        else:
            self._serve(client.poll, 0)
        finally:
            del client  # a stored error holds this frame, which would keep the client and its threads alive
        return delivery

    def settle(self, deliveries: Deliveries, timeout: float) -> None:
        """Wait until all messages of a run are acknowledged. Raises DeliveryError otherwise."""
        if deliveries.pending:
            self.await_all(lambda: deliveries.pending == 0, timeout)
        if (error := deliveries.failure) is not None:
            raise error
        if deliveries.pending:
            raise DeliveryError(f"{deliveries.pending} messages were not acknowledged within {timeout:g} s")

    def await_all(self, done: Callable[[], bool], timeout: float) -> None:
        """Serve deliveries until `done()` or `timeout` seconds are over."""
        deadline = time.monotonic() + timeout
        while not done():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return
            # flush() sends messages at once in spite of linger.ms. In short slices, because it waits for the
            # messages of every thread, and other threads may keep producing.
            self._serve(self.client.flush, min(0.05, remaining))

    def serve(self) -> None:
        """Process the broker's answers without waiting; do nothing if the producer is not in use."""
        client = self._client
        if client is not None and self._origin.is_here:
            with contextlib.suppress(DeliveryError):  # noted in `fatal_error`
                self._serve(client.poll, 0)
        del client  # see produce()

    def _flush(self, timeout: float) -> None:
        self._serve(self.client.flush, timeout)

    def _serve(self, call: Callable[[float], int], timeout: float) -> int:
        """Call poll() or flush(), which raise a fatal error of the producer instead of calling error_cb."""
        try:
            return call(timeout)
        except:  # noqa: E722  confluent-kafka 2.16 may raise the KafkaError itself, which is not an exception
            if (cause := kafka_error_of(sys.exc_info()[1])) is None:
                raise
            self._note_fatal(cause)
            failure = DeliveryError(f"the producer can no longer send: {self.scrub(cause.str())}")
        finally:
            del call  # see produce()
        raise failure

    @property
    def transactional(self) -> bool:
        """Whether everything goes through transactions, because a transactional.id is set."""
        return "transactional.id" in self._properties

    def check_transactional(self) -> None:
        """Raise ConfigurationError without a transactional.id."""
        if not self.transactional:
            raise ConfigurationError(
                "transactions need an id: App(producer={'transactional.id': prefix}); a node appends its number"
            )

    @contextlib.contextmanager
    def transaction(self, timeout: float = 60.0) -> Iterator[TransactionScope]:
        """Run a block as one transaction: all of its output and offsets become visible together, or nothing does.

        A producer has one transaction at a time; others wait in order. An error inside aborts it and is
        raised. Raises DeliveryError when the transaction cannot be committed, ConfigurationError without a
        transactional.id.
        """
        self.check_transactional()
        scope = self.transactions.begin(timeout)
        try:
            yield scope
        except BaseException:
            self.transactions.abort(timeout)
            raise
        self.transactions.commit(scope, timeout)

    def _note_fatal(self, error: confluent_kafka.KafkaError) -> None:
        # For example fenced by another producer with this id: no further call of this one will succeed.
        if error.fatal() and self.fatal_error is None:
            self.fatal_error = self.scrub(error.str())
            if self._on_error is not None:
                self._on_error(error)

    def scrub(self, text: str) -> str:
        """Return the text without any secret of this producer's properties."""
        return scrub(text, secrets_of(self._properties))

    def close(self, timeout: float) -> int:
        """Send the remaining messages within `timeout` seconds; return the number of unsent ones.

        This ends the client and its threads; later messages are refused.
        """
        if self._client is not None and not self._origin.is_here:
            return 0  # it belongs to the parent; destroying it here would abort this process
        self._closed = True
        # Creating a transactional client holds the lock until it has its id, which may take as long as an outage.
        if not self._lock.acquire(timeout=max(0.0, timeout)):
            return 0
        try:
            client, self._client = self._client, None
        finally:
            self._lock.release()
        if client is None:
            return 0
        try:
            return self._serve(client.flush, max(0.0, timeout))
        except DeliveryError:
            return len(client)

    def _create(self) -> confluent_kafka.Producer:
        try:
            client = self._clients.producer(self._properties, error_cb=self._error)
            if "transactional.id" in self._properties:
                client.init_transactions(30.0)
        except (confluent_kafka.KafkaException, TypeError, ValueError) as error:
            cause = error.args[0].str() if isinstance(error, confluent_kafka.KafkaException) else str(error)
            raise ConfigurationError(f"the producer cannot be created: {self.scrub(cause)}") from None
        if self._closed:  # meanwhile
            del client
            raise DeliveryError("the node has stopped, so nothing more can be sent")
        self._origin = Origin()
        self._client = client
        return client

    def _error(self, error: confluent_kafka.KafkaError) -> None:
        if error.fatal():
            self.fatal_error = self.scrub(error.str())
        if self._on_error is not None:
            self._on_error(error)
