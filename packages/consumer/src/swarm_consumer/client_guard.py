"""Refuses Kafka clients in a process that is going to fork, for supervisors: see `swarm_consumer.kafka.fork_guard`."""

from __future__ import annotations

from swarm_consumer.kafka.fork_guard import allow_clients as allow_clients
from swarm_consumer.kafka.fork_guard import check_clients_allowed as check_clients_allowed
from swarm_consumer.kafka.fork_guard import refuse_clients as refuse_clients
