"""A node as a program of its own, for scenarios that kill it. Its one argument is JSON; it logs what it handles."""

import json
import os
import sys
import time

from swarm_consumer import App


def main():
    given = json.loads(sys.argv[1])
    log = os.open(given["log"], os.O_WRONLY | os.O_APPEND)
    app = App(
        given["group"],
        kafka=given["kafka"],
        max_messages=given.get("max_messages", 10),
        max_wait=0.1,
        retry_backoff=0.1,
        retry_backoff_max=0.2,
    )
    delay_s = given.get("delay_s", 0.0)
    output = given.get("output")

    @app.consume(given["topic"])
    def handle(batch, consumer):
        for message in batch:
            os.write(log, b"handling %d %d\n" % (message.partition, message.offset))
            if output:
                consumer.produce(output, b"%d-%d" % (message.partition, message.offset))
            time.sleep(delay_s)
            os.write(log, b"handled %d %d\n" % (message.partition, message.offset))

    return app.run(signals=True, node_id=given.get("node_id"), drain_timeout=given.get("drain_timeout", 10))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
