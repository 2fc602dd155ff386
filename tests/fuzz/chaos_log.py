"""What must hold for whatever stands in the log of the chaos harness: a node killed in a write leaves torn lines."""

from benchmarks.chaos.records import Entry, decode, parse

PACKAGES = ["benchmarks.chaos.records"]


def check(data):
    """Raise if anything but a ValueError comes of it, or a line that was understood cannot be written again."""
    try:
        record = decode(data)
    except ValueError:
        pass
    else:
        assert isinstance(record.sequence, int)
    for line in data.decode("utf-8", "replace").splitlines():
        try:
            entry = parse(line)
        except ValueError:
            continue
        assert isinstance(entry, Entry)
        assert parse(entry.line()).line() == entry.line()
