"""Joining text loses nothing and reorders nothing that anyone can see."""

from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from localchat.engine.reports import Report, Summarised
from localchat.events import Event, Failed, PrefillProgress, TextDelta
from localchat.host.delivery import are_patient, can_wait, merge_text

IDS = st.sampled_from(["a", "b", "c"])
EVENTS = st.lists(
    st.builds(TextDelta, IDS, st.text(min_size=1, max_size=3), tokens=st.integers(0, 3))
    | st.builds(PrefillProgress, IDS, st.integers(0, 3), st.just(3))
)


def of_request(events: list[Event], request_id: str) -> list[Event | str]:
    """The request's events in order, with the texts that follow each other as one string."""
    mine = [event for event in events if event.request_id == request_id]
    result: list[Event | str] = []
    for is_delta, run in groupby(mine, key=lambda event: isinstance(event, TextDelta)):
        if is_delta:
            result.append("".join(e.text for e in run if isinstance(e, TextDelta)))
        else:
            result += run
    return result


def num_tokens(events: list[Event], request_id: str) -> int:
    mine = [event for event in events if event.request_id == request_id]
    return sum(event.tokens for event in mine if isinstance(event, TextDelta))


@given(EVENTS)
def test_each_request_sees_the_same_in_as_few_pieces_as_can_be(events: list[Event]) -> None:
    merged = merge_text(events)
    for request_id in "abc":
        expected = of_request(events, request_id)
        assert of_request(merged, request_id) == expected
        assert sum(event.request_id == request_id for event in merged) == len(expected)
        assert num_tokens(merged, request_id) == num_tokens(events, request_id)


def test_only_text_can_wait() -> None:
    assert can_wait([TextDelta("a", "x")], ())
    assert not are_patient([TextDelta("a", "x")], ())
    assert not can_wait([TextDelta("a", "x"), PrefillProgress("a", 1, 1)], ())


def test_all_but_the_end_of_a_batch_can_wait() -> None:
    progress: list[Report] = [TextDelta("a", "x"), PrefillProgress("a", 1, 1)]
    assert are_patient(progress, {"a"})
    assert can_wait(progress, {"a"})
    ends: list[Report] = [Failed("a", "EngineFailed", "It broke."), Summarised("b/summary")]
    for waited_for in ends:
        assert not are_patient([*progress, waited_for], {"a"})
        assert not can_wait([*progress, waited_for], {"a"})
    assert not are_patient([*progress, TextDelta("b", "x")], {"a"})
