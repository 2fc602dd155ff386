"""What the faults of a run explain, and what they do not."""

import pytest

from benchmarks.chaos.faults import Injected
from benchmarks.chaos.judgement import deadlines, of_faults, of_samples, of_silences
from benchmarks.chaos.ledger import Silence, Span
from benchmarks.chaos.sample import Sample


def fault(started: float, healed: float, recovered: float, bound: float = 10.0) -> Injected:
    return Injected(
        "node-kill", started, seen_at=healed, healed_at=healed, recovered_at=recovered, detail="pid 1", bound_s=bound
    )


def silence(start: float, end: float) -> Silence:
    return Silence(3, Span(start, end))


def test_a_fault_alone_has_its_own_time() -> None:
    assert deadlines([fault(0, 1, 5), fault(6, 7, 9, bound=20)]) == [11, 27]


def test_times_add_up_when_one_fault_overtakes_another() -> None:
    assert deadlines([fault(0, 1, 20), fault(6, 7, 20, bound=20)]) == [31, 31]


def test_a_fault_without_recovery_overlaps_all_that_follow() -> None:
    assert deadlines([fault(0, 1, 0), fault(60, 61, 62)]) == [71, 71]


def test_a_recovery_within_its_time_is_no_problem_and_a_longer_one_is() -> None:
    assert of_faults([fault(0, 1, 10.9)]) == []
    assert of_faults([fault(0, 1, 11.1)]) == ["node-kill (pid 1): recovery took 10.1 s, the bound is 10.0 s"]


def test_a_fault_that_never_recovers_is_a_problem_also_when_nobody_waited_for_it() -> None:
    never = fault(0, 1, 0)
    never.hasty = True
    assert of_faults([never]) == ["node-kill (pid 1): no recovery was seen before the run ended"]
    unseen = fault(0, 1, 0)
    unseen.seen_at = 0.0
    assert of_faults([unseen]) == []


def test_what_should_have_followed_and_did_not_is_a_problem() -> None:
    injected = fault(0, 1, 2)
    injected.trouble = "all nodes of the new supervisor within 60 s"
    assert "all nodes of the new supervisor" in of_faults([injected])[0]


@pytest.mark.parametrize(
    ("span", "complaint"),
    [
        ((0.5, 10.5), ""),  # within the time of the fault
        ((0.5, 14.0), "3.0 s longer"),
        ((20.0, 24.0), "no fault explains it"),  # long after it
        ((20.0, 21.5), ""),  # too short to need one
    ],
)
def test_a_silence_needs_a_fault_and_ends_with_its_deadline(span: tuple[float, float], complaint: str) -> None:
    found = of_silences([silence(*span)], [fault(0, 1, 2)], 0.0)
    assert (complaint in found[0]) if complaint else found == []


def test_a_fault_that_nobody_saw_explains_nothing() -> None:
    unseen = fault(0, 1, 2)
    unseen.seen_at = 0.0
    assert "no fault explains it" in of_silences([silence(0.5, 8)], [unseen], 0.0)[0]


def test_a_silence_goes_on_from_one_fault_to_the_next() -> None:
    faults = [fault(0, 1, 5), fault(10, 11, 15)]
    assert of_silences([silence(0.5, 20.5)], faults, 0.0) == []
    assert of_silences([silence(0.5, 20.5)], faults[:1], 0.0) != []


def sample(pid: int = 1, descriptors: int = 20, threads: int = 1, zombies: int = 0) -> Sample:
    return Sample(0.0, pid, descriptors, threads, 40.0, zombies, 20, 8)


def test_what_only_grows_is_told() -> None:
    assert of_samples([sample(), sample(descriptors=22), sample(pid=2, descriptors=30)]) == []
    assert of_samples([sample(), sample(descriptors=23)]) == ["supervisor 1: descriptors went from 20 to 23"]
    assert of_samples([sample(), sample(threads=2)]) == ["supervisor 1: threads went from 1 to 2"]
    assert of_samples([sample(), sample(zombies=1)]) == ["supervisor 1: zombies went from 0 to 1"]
    assert of_samples([sample(zombies=1)]) == ["supervisor 1: 1 zombies"]
