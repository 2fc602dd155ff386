"""The application of the soak: it works on every byte of a batch, and writes one line when the batch is done."""

import os
import time
import zlib

from benchmarks.chaos.soak_ledger import BatchDone
from swarm_consumer import App, Batch

LOG = os.open(os.environ["CHAOS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

app = App("soak", max_messages=1000)


@app.consume(os.environ["CHAOS_TOPIC"], group=os.environ["CHAOS_GROUP"])
def soak(messages: Batch[bytes]) -> None:
    """Count nothing here: the ledger outside knows what these bytes must be."""
    checksum = zlib.crc32(b"".join(map(bytes, filter(None, messages.raw_payloads()))))
    done = BatchDone(
        time.monotonic(), os.getpid(), messages.partition, messages.first_offset, messages.last_offset, checksum
    )
    os.write(LOG, done.line().encode())
