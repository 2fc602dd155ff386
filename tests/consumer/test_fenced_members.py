"""Two swarms with one prefix of static ids: one sentence with the reason and the remedy."""

import pytest
from confluent_kafka import KafkaError

from swarm_consumer.kafka.client_errors import Consequence, judge

FENCED = "Broker: Static consumer fenced by other consumer with same group.instance.id"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (KafkaError.FENCED_INSTANCE_ID, FENCED),
        (KafkaError._FATAL, f"Fatal error: {FENCED}: Fatal consumer error: {FENCED}"),  # as librdkafka 2.16 tells it
    ],
)
def test_a_member_that_another_process_has_replaced_says_whose_id_and_what_to_do(code, text):
    error = KafkaError(code, text, fatal=True)
    judgement = judge(error, text, "pricing", "shop_0_pricing")
    assert (judgement.consequence, judgement.code) == (Consequence.END, "FENCED_INSTANCE_ID")
    assert judgement.reason == (
        "another process uses group.instance.id shop_0_pricing in group pricing: give each swarm its own "
        "--group-instance-id (the property group.instance.id)"
    )


def test_one_whose_session_has_not_ended_waits_and_says_the_same_remedy():
    text = KafkaError(KafkaError.UNRELEASED_INSTANCE_ID).str()
    judgement = judge(KafkaError(KafkaError._FATAL, text, fatal=True), text, "pricing", "shop_0_pricing")
    assert judgement.consequence is Consequence.WAIT_FOR_OWN_ID
    assert "give each swarm its own --group-instance-id" in judgement.reason
