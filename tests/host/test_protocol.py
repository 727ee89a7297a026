from __future__ import annotations

import dataclasses
import json
import math
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat import events
from localchat.errors import EngineFailed
from localchat.host import protocol
from localchat.host.protocol import FrameReader, encode
from localchat.types import GenerationRequest, SamplingParams

PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(st.characters()),  # lone surrogates too: file names and arguments hold them
    int: st.integers(-1, 2**32),
    float: st.floats(allow_nan=False),  # infinity too: a bias of -inf forbids a token
    bool: st.booleans(),
    NoneType: st.none(),
}


def anything(kind: Any) -> Any:
    """Values of a type of `localchat.types` or `localchat.events`, with all its fields."""
    members = get_args(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return st.builds(kind, **{n: anything(t) for n, t in get_type_hints(kind).items()})
    if get_origin(kind) is Literal:
        return st.sampled_from(members)
    if get_origin(kind) is UnionType:
        return st.one_of([anything(member) for member in members])
    if get_origin(kind) is tuple and members[-1] is Ellipsis:
        return st.lists(anything(members[0]), max_size=3).map(tuple)
    if get_origin(kind) is tuple:
        return st.tuples(*map(anything, members))
    return PLAIN[kind]


LONG = "x" * protocol.MAX_FRAME


def over_the_wire(frame: protocol.Frame) -> protocol.Frame:
    (received,) = FrameReader().feed(encode(frame))
    return received


@given(anything(events.Event))
def test_every_event_arrives_as_it_was_sent(sent: events.Event) -> None:
    assert protocol.parse_event(over_the_wire(protocol.event_frame(sent))) == sent


@pytest.mark.parametrize("kind", [events.TextDelta, events.ReasoningDelta])
def test_a_delta_arrives_with_its_number_of_tokens(kind: Any) -> None:
    received = protocol.parse_event(over_the_wire(protocol.event_frame(kind("1", "a", tokens=3))))
    assert received.tokens == 3  # type: ignore[union-attr]  # two deltas are equal without it


@given(anything(GenerationRequest))
def test_every_request_arrives_as_it_was_sent(sent: GenerationRequest) -> None:
    received = over_the_wire(protocol.request_frame(sent))
    assert protocol.parse_request(received["request"]) == sent


def test_a_bias_that_forbids_a_token_arrives() -> None:
    params = SamplingParams(logit_bias=((7, -math.inf), ("7", 1)))
    sent = protocol.request_frame(GenerationRequest("1", prompt="", params=params))
    received = protocol.parse_request(over_the_wire(sent)["request"]).params.logit_bias
    assert received == ((7, -math.inf), ("7", 1.0))
    assert [type(value) for pair in received for value in pair] == [int, float, str, float]


@pytest.mark.parametrize("bias", [[1], ["a", "b"], [1, None], 7, [[1], 2.0, 3]])
def test_a_bias_that_is_none_is_refused(bias: Any) -> None:
    fields = over_the_wire(protocol.request_frame(GenerationRequest("1", prompt="")))["request"]
    fields["params"]["logit_bias"] = [bias]
    with pytest.raises(EngineFailed, match="can't be understood"):
        protocol.parse_request(fields)


def test_every_kind_of_event_is_covered() -> None:
    for kind in events.Event.__args__:
        with pytest.raises(EngineFailed, match="can't be read"):
            protocol.parse_event({"op": "event", "event": kind.__name__, "surprise": 1})


def test_frames_may_be_cut_at_every_byte() -> None:
    frames: list[Any] = [{"op": "a", "text": "é\n\x00😀"}, {"op": "b"}]
    stream = b"".join(map(encode, frames))
    for cut in range(len(stream) + 1):
        reader = FrameReader()
        assert reader.feed(stream[:cut]) + reader.feed(stream[cut:]) == frames
    reader = FrameReader()
    assert [frame for byte in stream for frame in reader.feed(bytes([byte]))] == frames


@pytest.mark.parametrize(
    "line",
    [b"garbage", b"\xff\xfe", b"[]", b"null", b"7", b'{"op":1}', b"{}", b"", b"[" * 100_000],
)
def test_what_is_no_frame_is_refused(line: bytes) -> None:
    with pytest.raises(EngineFailed, match="agreed on"):
        FrameReader().feed(line + b"\n")


def test_a_frame_without_an_end_is_refused_when_it_grows_too_long() -> None:
    reader = FrameReader()
    assert reader.feed(LONG.encode()) == []
    with pytest.raises(EngineFailed, match="longer than 33,554,432 bytes"):
        reader.feed(b"x")


@pytest.mark.parametrize(
    "fields",
    [
        None,
        [],
        {},
        {"id": "1", "messages": [], "params": {}},
        {"id": "1", "messages": [{"role": "user"}], "params": {"stop": []}},
        {"id": "1", "messages": [], "params": {"stop": [], "surprise": 1}},
    ],
)
def test_what_is_no_request_is_refused(fields: Any) -> None:
    with pytest.raises(EngineFailed, match="can't be understood"):
        protocol.parse_request(fields)


def test_an_unknown_event_is_refused() -> None:
    with pytest.raises(EngineFailed, match="unknown event"):
        protocol.parse_event(json.loads('{"op": "event", "event": "Surprise"}'))
