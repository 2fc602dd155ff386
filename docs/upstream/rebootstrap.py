"""librdkafka: a Metadata answer without brokers can leave a client without any broker, for ever.

python rebootstrap.py [GROUP_PROTOCOL]   (needs confluent-kafka alone; exits with 1 when a client was lost)
"""
import json, os, socket, struct, sys, threading, time
from confluent_kafka import Consumer, Producer

mock = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 1, "log_level": 0})
broker = next(iter(mock.list_topics("t", timeout=10).brokers.values()))
asked, state = {}, {"stalled": False, "fenced": False}  # of the proxy: it delays answers, and empties Metadata
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
ours, theirs = (b"127.0.0.1" + struct.pack(">i", number) for number in (port, broker.port))

def pump(source, sink, number, upwards):
    stream = source.makefile("rb")
    while len(head := stream.read(4)) == 4:
        body = stream.read(struct.unpack(">i", head)[0])
        if upwards:
            asked[number, body[4:8]] = struct.unpack_from(">hh", body)  # the API key and its version
        else:
            while state["stalled"]:
                time.sleep(0.01)
            key, version = asked.pop((number, body[:4]), (0, 0))
            if key == 3 and version >= 9 and state["fenced"] and (at := body.find(theirs)) > 0:
                # correlation id, tags, throttle time | one broker: count, id, host, port, rack (null), tags | the rest
                body = body[:9] + b"\x01" + body[at + len(theirs) + 2 :]
            body = body.replace(theirs, ours)
        sink.sendall(struct.pack(">i", len(body)) + body)
    sink.shutdown(socket.SHUT_RDWR)

def serve():
    for number in range(1_000_000):
        one, two = listener.accept()[0], socket.create_connection(("127.0.0.1", broker.port))
        for ends in ((one, two, number, True), (two, one, number, False)):
            threading.Thread(target=pump, args=ends, daemon=True).start()

def consume(number):
    consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{port}", "group.id": f"g{number}", "log_level": 0,
        "group.protocol": (sys.argv[1:] or ["consumer"])[0], "topic.metadata.refresh.interval.ms": 100,
        "statistics.interval.ms": 500, "stats_cb": lambda text: seen.update({number: json.loads(text)})})
    consumer.subscribe(["t"])
    while True:
        consumer.poll(0.1)

seen, lost = {}, []
threading.excepthook = lambda _: None  # connections that end are no news
for target, *args in ((serve,), *((consume, number) for number in range(4))):
    threading.Thread(target=target, args=args, daemon=True).start()
time.sleep(5)
for cycle in range(20):
    for stalled, fenced, seconds in ((True, False, 1), (False, True, 0.5), (False, False, 10)):
        state.update(stalled=stalled, fenced=fenced)
        time.sleep(seconds)
    if lost := [number for number, one in sorted(seen.items()) if one["cgrp"]["state"] != "up"]:
        break
for one in map(seen.get, lost):
    print(one["cgrp"]["state"], [(broker["source"], broker["state"]) for broker in one["brokers"].values()])
print(f"{len(lost)} of {len(seen)} clients lost in cycle {cycle}", flush=True)
os._exit(bool(lost))
