"""What the broker itself says of the groups: asked when a run did not recover, to tell a broker's fault from ours."""

from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

ASK_S = 10.0


def described(bootstrap: str, groups: list[str]) -> str:
    """Return the state, the members and their partitions of each group, as text; an error in place of what failed."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    try:
        answers: dict[str, Future[Any]] = admin.describe_consumer_groups(groups, request_timeout=ASK_S)
    except KafkaException as error:
        return f"the broker did not say: {error}"
    lines = []
    for group, answer in answers.items():
        try:
            said = answer.result(ASK_S)
        except Exception as error:  # noqa: BLE001  told as what it is
            lines.append(f"{group}: {type(error).__name__}: {error}")
            continue
        lines.append(f"{group}: {said.state.name}, type {said.type.name}, members {len(said.members)}")
        for member in said.members:
            assigned = member.assignment.topic_partitions if member.assignment is not None else []
            partitions = " ".join(str(one.partition) for one in assigned) or "none"
            instance = f", instance {member.group_instance_id}" if member.group_instance_id else ""
            lines.append(f"    {member.member_id} ({member.client_id}{instance}): partitions {partitions}")
    return "\n".join(lines)
