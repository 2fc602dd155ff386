"""Errors of the test kit: each message is a sentence that says what to do."""

from __future__ import annotations


class BrokerError(RuntimeError):
    """A test broker could not do what was asked: it did not start, has ended, or refused the request."""


class UnsupportedByBroker(BrokerError):
    """This broker cannot do it at all: another kind of broker, or another librdkafka, is needed."""


class KafkaUnavailable(BrokerError):
    """No real Kafka can run here: Java or Maven is missing, or its libraries cannot be fetched."""
