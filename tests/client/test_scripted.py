from __future__ import annotations

from localchat.client.scripted import ScriptedClient
from localchat.events import Failed, Finished, ReasoningDelta, Scored, TextDelta
from localchat.types import GenerationRequest, Score, Timings, Usage

NOTHING = Usage(0, 0, 0), Timings(0.0, 0.0, 0.0)


def request(name: str) -> GenerationRequest:
    return GenerationRequest(name, prompt="")


def test_text_and_events_come_as_they_are_and_an_end_is_made() -> None:
    client = ScriptedClient(["a", ReasoningDelta("", "b"), "c"], [])
    client.submit(request("1"))
    *events, last = client.events()
    assert events == [TextDelta("1", "a"), ReasoningDelta("1", "b"), TextDelta("1", "c")]
    assert [event.tokens for event in events if isinstance(event, TextDelta)] == [1, 1]
    assert isinstance(last, Finished)
    assert (last.request_id, last.finish_reason, last.usage.completion_tokens) == ("1", "stop", 3)
    client.submit(request("2"))
    assert [type(event) for event in client.events()] == [Finished]


def test_an_end_that_was_written_is_the_end() -> None:
    scored = Scored("", (Score(-1.0, 1),), *NOTHING)
    client = ScriptedClient(scored, ["a", Failed("", "EngineDied", "x")])
    client.submit(request("1"))
    assert [type(event) for event in client.events()] == [Scored]
    client.submit(request("2"))
    assert list(client.events()) == [TextDelta("2", "a"), Failed("2", "EngineDied", "x")]


def test_cancelled_is_the_end_of_that_request_alone() -> None:
    client = ScriptedClient(["a"], ["b"])
    client.submit(request("1"))
    client.submit(request("2"))
    client.cancel("1")
    ends = {event.request_id: event for event in client.events() if isinstance(event, Finished)}
    assert (ends["1"].finish_reason, ends["2"].finish_reason) == ("cancelled", "stop")
