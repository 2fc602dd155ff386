"""Routing and settings: what may be declared, what is refused and with which words, and what follows. No broker."""

from __future__ import annotations

import logging
import re

import pytest

from swarm_consumer import App, ConfigurationError, Consumer, DeadLetters, Runtime, Selection
from swarm_consumer._payloads.codec import encode
from swarm_consumer.kafka.clients import KafkaClients
from swarm_consumer.kafka.producer_properties import producer_properties
from swarm_consumer.kafka.redaction import MASK, ScrubbingFilter, is_secret, redacted, scrub, secrets_of
from swarm_consumer.routing.client_properties import ClientProperties

KAFKA = {"bootstrap.servers": "localhost:9092"}


class Handler(Consumer):
    def consume(self, messages):
        pass


def app(**options):
    return App("test", KAFKA, **options)


def refused(match, declare):
    with pytest.raises(ConfigurationError, match=match):
        declare()


def test_topics_of_a_group_with_equal_settings_share_one_client():
    one = app()
    one.topic("a", "b", group="g")(Handler)
    one.topic("c", group="g", max_messages=7)(Handler)
    (group,) = one.subscription_groups()
    assert (group.name, group.consumer_group, group.topics) == ("g", "g", ("a", "b", "c"))


def test_names_do_not_depend_on_the_order_of_definition():
    declarations = [
        lambda one: one.topic("a", group="g")(Handler),
        lambda one: one.topic("b", group="g", kafka={"fetch.min.bytes": 7})(Handler),
        lambda one: one.topic("c", group="g", initial_offset="latest")(Handler),
        lambda one: one.topic("d", group="h", subscription_group="mine")(Handler),
    ]
    names = []
    for order in (declarations, declarations[::-1]):
        one = app()
        for declare in order:
            declare(one)
        names.append({route.topic: group.name for group in one.subscription_groups() for route in group.routes})
    assert names[0] == names[1]
    assert names[0]["a"] == "g"
    assert names[0]["d"] == "mine"
    assert len(set(names[0].values())) == 4


def test_names_do_not_depend_on_what_is_filtered_out():
    one = app()
    one.topic("a", "b", group="g")(Handler)
    (all_of_it,) = one.subscription_groups()
    (part,) = Selection(include_topics=["b"]).apply(one.subscription_groups())
    assert (part.name, part.topics) == (all_of_it.name, ("b",))


def test_properties_are_inherited_and_the_nearest_wins():
    one = App("test", {**KAFKA, "fetch.min.bytes": 1, "fetch.wait.max.ms": 1})
    group = one.group("g", kafka={"fetch.min.bytes": 2, "check.crcs": True})
    group.topic("a", kafka={"fetch.min.bytes": 3})(Handler)
    (subscription,) = one.subscription_groups()
    properties = {name: (given.value, given.where) for name, given in subscription.properties.items()}
    assert properties["fetch.min.bytes"] == (3, "topic 'a'")
    assert properties["check.crcs"] == (True, "group 'g'")
    assert properties["fetch.wait.max.ms"] == (1, "App(kafka=...)")
    assert properties["fetch.queue.backoff.ms"] == (10, "Swarm's defaults")


def test_settings_are_inherited_and_the_nearest_wins():
    one = app(max_messages=10, retry_backoff=2.0)
    group = one.group("g", max_messages=20)
    group.topic("a")(Handler)
    group.topic("b", max_messages=30)(Handler)
    assert [(r.settings.max_messages, r.settings.retry_backoff) for r in one.routes] == [(20, 2.0), (30, 2.0)]


@pytest.mark.parametrize(
    "name", ["enable.auto.offset.store", "enable.auto.commit", "group.id", "client.id", "auto.offset.reset", "error_cb"]
)
def test_our_properties_are_refused_by_name_wherever_they_are_set(name):
    refused(rf"App\(kafka=\.\.\.\): the property {name} is Swarm's own: ", lambda: App("x", {name: "1"}))
    refused(rf"group 'g': the property {name} is", lambda: app().group("g", kafka={name: "1"}))
    refused(rf"topic 't': the property {name} is", lambda: app().topic("t", kafka={name: "1"})(Handler))


def test_conflicts_and_mistakes_are_refused_in_sentences():
    one = app()
    one.topic("a", group="g")(Handler)
    refused("topic 'a' is declared twice in group 'g'", lambda: one.topic("a", group="g")(Handler))
    refused("group 'g' is declared twice", lambda: one.group("g"))
    refused("cannot be a topic", lambda: one.topic("not a topic")(Handler))
    refused("is not a regular expression", lambda: one.topic("^(")(Handler))
    refused("needs the name of at least one topic", lambda: one.topic()(Handler))
    refused("takes a class derived from Consumer", lambda: one.topic("b")(lambda messages: None))
    refused("takes a function", lambda: one.consume("b")(Handler))
    refused("must take the batch", lambda: one.consume("b")(lambda: None))
    refused("must take the batch", lambda: one.consume("b")(lambda a, b, c: None))
    refused(
        r"unknown setting 'max_mesages'; did you mean 'max_messages'\?", lambda: one.topic("b", max_mesages=1)(Handler)
    )
    refused("max_messages must be a whole number from 1", lambda: app(max_messages=0))
    refused("max_wait must be a number", lambda: app(max_wait="1"))
    refused("initial_offset must be one of", lambda: app(initial_offset="middle"))
    refused(
        r"retry_backoff \(10 s\) is longer than retry_backoff_max \(5 s\) by 5 s",
        lambda: app(retry_backoff=10, retry_backoff_max=5),
    )
    refused("long_running=True needs its own consuming_ttl", lambda: one.topic("b", long_running=True)(Handler))
    refused("dead_letters must be a DeadLetters", lambda: one.topic("b", dead_letters="dead")(Handler))
    refused("dead letters need one topic", lambda: one.topic("b", dead_letters=DeadLetters(topic="^x"))(Handler))
    refused("concurrency must be a whole number", lambda: app(concurrency=0))
    refused(
        "two subscription groups are named 'h'",
        lambda: [
            one.topic("b", group="h")(Handler),
            one.topic("c", group="i", subscription_group="h")(Handler),
        ],
    )
    refused(
        "cannot share subscription group 'same': the property fetch.min.bytes differs",
        lambda: [
            one.topic("d", group="j", subscription_group="same")(Handler),
            one.topic("e", group="j", subscription_group="same", kafka={"fetch.min.bytes": 2})(Handler),
        ],
    )


def test_members_that_no_broker_takes_into_one_group_are_refused_with_both_places():
    one = app()
    one.topic("a", group="g")(Handler)
    refused(
        r"consumer group 'g' need the same partition.assignment.strategy: it is cooperative-sticky for 'a' \(the "
        r"default\) and range, roundrobin for 'b' \(topic 'b'\)",
        lambda: one.topic("b", group="g", kafka={"partition.assignment.strategy": "range, roundrobin"})(Handler),
    )
    refused(
        r"need the same group.protocol: it is classic for 'a' \(the default\) and consumer for 'c' \(topic 'c'\)",
        lambda: one.topic("c", group="g", kafka={"group.protocol": "consumer"})(Handler),
    )
    one.topic("d", group="other", kafka={"group.protocol": "consumer"})(Handler)  # another group: no matter
    one.topic("e", group="g", active=False, kafka={"group.protocol": "consumer"})(Handler)  # no member of it
    two = app()
    two.topic("a", group="g", kafka={"partition.assignment.strategy": "range,roundrobin"})(Handler)
    two.topic("b", group="g", kafka={"partition.assignment.strategy": "roundrobin"})(Handler)  # one in common will do
    assert [group.topics for group in two.subscription_groups()] in ([("a",), ("b",)], [("b",), ("a",)])


def test_the_routing_table_can_be_read_with_the_place_of_each_property_and_no_secret():
    one = App("test", {**KAFKA, "sasl.password": "hunter2"}, max_messages=50)
    one.group("delays", kafka={"fetch.min.bytes": 7})
    one.topic("flights", "^old-.*", group="delays")(Handler)
    one.topic("late", group="delays", active=False, kafka={"fetch.min.bytes": 9}, long_running=True, consuming_ttl=60)(
        Handler
    )
    one.consume("orders")(lambda messages: None)
    table = one.routing_table()
    assert "subscription group delays of consumer group delays\n" in table
    assert "  topic flights -> Handler, max_messages=50\n" in table
    assert "  pattern ^old-.* -> Handler, max_messages=50\n" in table
    assert "  topic late -> Handler, max_messages=50, long_running=True, consuming_ttl=60, inactive\n" in table
    assert "<lambda>" in table
    assert re.search(r"fetch\.min\.bytes += 7  \(group 'delays'\)", table)
    assert re.search(r"fetch\.min\.bytes += 9  \(topic 'late'\)", table)
    assert re.search(r"queued\.max\.messages\.kbytes += 16384  \(Swarm's defaults\)", table)
    assert re.search(r"sasl\.password += \[redacted\]  \(App\(kafka=\.\.\.\)\)", table)
    assert "hunter2" not in table
    assert app().routing_table() == "nothing is consumed"


def test_a_refused_topic_leaves_the_app_as_it_was():
    one = app()
    one.topic("a")(Handler)
    refused("declared twice", lambda: one.topic("a")(Handler))
    assert [route.topic for route in one.routes] == ["a"]


def test_a_revocation_budget_beyond_the_poll_interval_is_refused():
    one = App("test", {**KAFKA, "max.poll.interval.ms": 10000}, revocation_timeout=15)
    one.topic("a")(Handler)
    refused(r"revocation_timeout \(15 s\) must be shorter .* too long by 5 s", lambda: Runtime(one))


def test_a_selection_names_what_it_does_not_know():
    one = app()
    one.topic("flights", group="delays")(Handler)
    one.topic("weather", group="delays")(Handler)
    refused(
        r"include-topics: nothing is named 'flight'; did you mean 'flights'\?",
        lambda: Selection(include_topics=["flight"]).check(one),
    )
    refused("the filters exclude every topic", lambda: Selection(exclude_topics=["*"]).check(one))
    refused(
        "exclude-consumer-groups: nothing is named 'x'", lambda: Selection(exclude_consumer_groups=["x"]).check(one)
    )
    both = Selection(include_topics=["flights"], exclude_topics=["fl*"])
    both.check(one)
    assert [route.topic for group in both.apply(one.subscription_groups()) for route in group.routes] == ["flights"]


def test_static_ids_are_prefix_node_and_subscription_group():
    one = App("test", {**KAFKA, "group.instance.id": "rack-1"})
    one.topic("a", group="g")(Handler)
    (group,) = one.subscription_groups()
    assert ClientProperties(group, "test", 2).instance_id == "rack-1_2_g"
    assert ClientProperties(group, "test", None).instance_id == "rack-1_g"
    assert ClientProperties(group, "test", 2).for_client()["client.id"] == "test-2"


def test_defaults_depend_on_the_group_protocol():
    classic, consumer = app(), App("test", {**KAFKA, "group.protocol": "consumer"})
    for one in (classic, consumer):
        one.topic("a")(Handler)
    one = ClientProperties(classic.subscription_groups()[0], "x", None).for_client()
    assert one["partition.assignment.strategy"] == "cooperative-sticky"
    assert (one["enable.auto.offset.store"], one["enable.auto.commit"]) == (False, False), "Swarm does both"
    assert (
        "partition.assignment.strategy"
        not in ClientProperties(consumer.subscription_groups()[0], "x", None).for_client()
    )


@pytest.mark.parametrize(
    ("given", "heartbeat"),
    [
        ({}, 1000),
        ({"group.protocol": "Classic"}, 1000),  # librdkafka reads choices in any case
        ({"session.timeout.ms": 6000}, 1000),
        ({"session.timeout.ms": "3000"}, 999),
        ({"session.timeout.ms": 300}, 99),
        ({"session.timeout.ms": 1}, 1),
        ({"heartbeat.interval.ms": 2500}, 2500),
        ({"group.protocol": "consumer"}, None),
        ({"group.protocol": "CONSUMER"}, None),
    ],
)
def test_a_heartbeat_a_second_is_the_default_of_the_classic_protocol_alone(given, heartbeat):
    one = App("test", {**KAFKA, **given})
    one.topic("a")(Handler)
    (group,) = one.subscription_groups()
    properties = ClientProperties(group, "x", None).for_client()
    assert properties.get("heartbeat.interval.ms") == heartbeat
    client = KafkaClients(log_level=0).consumer(properties)  # refuses what it does not take
    client.close()


def test_what_is_finished_is_committed_twice_a_second_unless_the_user_says_otherwise():
    one, other = app(), App("test", {**KAFKA, "auto.commit.interval.ms": 5000})
    for each in (one, other):
        each.topic("a")(Handler)
    assert [each.subscription_groups()[0].commit_interval_s for each in (one, other)] == [0.5, 5.0]


def test_eof_events_are_on_only_for_consumers_that_ask():
    class Ends(Handler):
        def eofed(self):
            pass

    one, other = app(), app()
    one.topic("a")(Ends)
    other.topic("a")(Handler)
    assert ClientProperties(one.subscription_groups()[0], "x", None).for_client()["enable.partition.eof"] is True
    assert "enable.partition.eof" not in ClientProperties(other.subscription_groups()[0], "x", None).for_client()


def test_a_decorated_function_stays_a_function_and_defaults_are_not_arguments():
    one = app()

    @one.consume("a")
    def handle(messages, extra=7):
        return extra

    assert handle(None) == 7
    assert one.routes[0].consumer.wants_consumer is False


def test_the_producer_gets_all_of_the_apps_settings_and_ids_of_its_own():
    kafka = {
        **KAFKA,
        "sasl.username": "u",
        "security.protocol": "SASL_SSL",
        "fetch.min.bytes": 1,
        "group.instance.id": "x",
    }
    made = producer_properties(kafka, {"transactional.id": "t", "acks": "all"}, "flights", 3)
    assert made.pop("message.max.bytes") == 1_048_588
    assert producer_properties(kafka, {"message.max.bytes": 5000}, "flights", 3)["message.max.bytes"] == 5000
    assert made == {
        **KAFKA,
        "sasl.username": "u",
        "security.protocol": "SASL_SSL",
        "acks": "all",
        "transactional.id": "t_3",
        "client.id": "flights-producer-3",
    }


def test_values_are_encoded_by_what_they_are():
    assert [encode(value) for value in (b"b", "s", None, {"a": 1}, bytearray(b"x"))] == [
        b"b",
        "s",
        None,
        b'{"a":1}',
        b"x",
    ]


def test_secrets_are_known_and_never_shown():
    kafka = {
        "sasl.password": "hunter2",
        "ssl.key.password": "letmein",
        "ssl.key.pem": "-----BEGIN",
        "sasl.oauthbearer.client.secret": "s3cret",
        "ssl.ca.location": "/etc/ca.pem",
        "sasl.username": "user",
        "bootstrap.servers": "b:1",
    }
    shown = redacted(kafka)
    assert [name for name, value in shown.items() if value == MASK] == list(kafka)[:4]
    assert "hunter2" not in repr(App("x", {name: kafka[name] for name in kafka}))
    assert scrub("login of user with hunter2 at https://a:b@c", secrets_of(kafka)) == (
        f"login of user with {MASK} at https://{MASK}@c"
    )
    assert not is_secret("sasl.oauthbearer.token.endpoint.url")


def test_what_librdkafka_logs_is_cleaned_of_the_secrets_of_every_client(caplog):
    name = "swarm_consumer.test_of_the_filter"
    logger, scrubbing = logging.getLogger(name), ScrubbingFilter()
    logger.addFilter(scrubbing)
    scrubbing.learn(secrets_of({"sasl.password": "hunter2", "sasl.oauthbearer.config": "principal=me extra=hunter4"}))
    scrubbing.learn(secrets_of({"ssl.key.password": "hunter2+3"}))
    with caplog.at_level(logging.INFO, name):
        logger.info("%s: Unrecognized beginning at: %s", "main", "extra=hunter4 hunter2+3 hunter2")
    assert caplog.messages == [f"main: Unrecognized beginning at: {MASK} {MASK} {MASK}"]


def test_misspelt_secrets_are_secrets_too():
    for name in ("sasl.pasword", "ssl.passphrase", "db.pwd", "basic.auth.user.info", "sasl.password", "sasl.psswd",
                 "sasl.paswd", "api.key", "registry.apikey", "api_keys", "aws.access.key.id"):  # fmt: skip
        assert is_secret(name), name
    for name in (
        "socket.keepalive.enable",
        "ssl.keystore.location",
        "sticky.partitioning.linger.ms",
        "partitioner",
        "key.location",
        "bootstrap.servers",
        "sasl.username",
        "ssl.key.location",
        "enable.ssl.certificate.verification",
    ):
        assert not is_secret(name), name


@pytest.mark.parametrize(
    "url",
    ["https://u:p@SECRET@idp", "https://u:SEC/RET@idp", "https://SECRET@idp", "http://u:SECRET@idp/path?x=1",
     "https://u:SECRET@a,https://SECRET@idp"],
)  # fmt: skip
def test_whatever_stands_before_the_last_at_of_a_url_is_hidden(url):
    text = f"cannot ask {url} for a token"
    for shown in (scrub(text, ()), redacted({"sasl.oauthbearer.endpoint": url})["sasl.oauthbearer.endpoint"]):
        assert "SEC" not in shown
        assert "RET" not in shown
        assert "idp" in shown
    assert scrub("see https://idp/path or a@b", ()) == "see https://idp/path or a@b"
