"""Whatever fails, and however often: each message is handled, in order, and progress ends at the end."""

from collections import defaultdict
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from swarm_consumer import Consumer, DeadLetters
from swarm_consumer.testing import Record, run_messages

LENGTHS = st.lists(st.integers(0, 25), min_size=1, max_size=3)


@st.composite
def faults(draw):
    """Messages by partition, and how often handling each place fails before it succeeds."""
    lengths = draw(LENGTHS)
    places = [(partition, offset) for partition, length in enumerate(lengths) for offset in range(length)]
    failing = draw(st.dictionaries(st.sampled_from(places), st.integers(1, 4), max_size=6)) if places else {}
    return lengths, failing


def records_of(lengths):
    return [
        Record(b"%d" % offset, partition=partition)
        for partition, length in enumerate(lengths)
        for offset in range(length)
    ]


@settings(max_examples=60, deadline=None)
@given(faults(), st.integers(1, 10), st.booleans())
def test_every_message_is_handled_in_order_whatever_fails(case, max_messages, marks):
    lengths, failing = case
    remaining = dict(failing)
    done = defaultdict(list)

    class Handler(Consumer):
        def consume(self, messages):
            for message in messages:
                place = (message.partition, message.offset)
                if remaining.get(place, 0) > 0:
                    remaining[place] -= 1
                    raise ValueError(f"not yet {place}")
                done[message.partition].append(message.offset)
                if marks:
                    self.mark_as_consumed(message)

    outcome = run_messages(
        Handler, records_of(lengths), attempts=100, max_messages=max_messages, manual_marking=marks, timeout_s=60
    )
    assert outcome.committed == {("messages", partition): length for partition, length in enumerate(lengths) if length}
    assert len(outcome.failures) == sum(failing.values())
    for partition, length in enumerate(lengths):
        offsets = done[partition]
        assert sorted(set(offsets)) == list(range(length))
        firsts = [offset for index, offset in enumerate(offsets) if offset not in offsets[:index]]
        assert firsts == list(range(length))  # nothing was skipped and come back to
        if marks:
            assert offsets == list(range(length))  # a marked message is never given again
        # Without marks a failure repeats its batch only.
        for before, after in pairwise(offsets):
            assert after == before + 1 or before - max_messages < after <= before


@settings(max_examples=60, deadline=None)
@given(faults(), st.integers(1, 10), st.integers(0, 2), st.booleans())
def test_only_what_cannot_be_handled_is_diverted_and_nothing_is_lost(case, max_messages, max_retries, independent):
    lengths, failing = case
    remaining = dict(failing)
    done = defaultdict(set)

    def handle(batch):
        for message in batch:
            place = (message.partition, message.offset)
            if remaining.get(place, 0) > 0:
                remaining[place] -= 1
                raise ValueError(f"not yet {place}")
            done[message.partition].add(message.offset)

    letters = DeadLetters(topic="dead", max_retries=max_retries, independent=independent)
    outcome = run_messages(handle, records_of(lengths), max_messages=max_messages, dead_letters=letters, timeout_s=60)
    diverted = {(event.partition, event.offset) for event in outcome.dead_lettered}
    assert outcome.committed == {("messages", partition): length for partition, length in enumerate(lengths) if length}
    assert diverted <= set(failing)
    assert len(outcome.produced.get("dead", [])) == len(diverted)
    for partition, length in enumerate(lengths):
        assert done[partition] | {offset for number, offset in diverted if number == partition} == set(range(length))
