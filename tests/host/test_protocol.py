from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat import events
from localchat.errors import EngineFailed
from localchat.host import protocol
from localchat.host.protocol import FrameReader, encode
from localchat.types import GenerationRequest, Message, SamplingParams, Timings, Usage

text = st.text(st.characters())  # lone surrogates too: file names and arguments hold them
count = st.integers(0, 2**32)
seconds = st.floats(0, 1e6)
event = st.one_of(
    st.builds(events.PrefillProgress, text, count, count),
    st.builds(events.TextDelta, text, text),
    st.builds(
        events.Finished,
        text,
        st.sampled_from(["stop", "length", "cancelled"]),
        st.builds(Usage, count, count, count),
        st.builds(Timings, seconds, seconds, seconds),
        count,
    ),
    st.builds(events.Failed, text, text, text, st.none() | text),
    st.builds(events.Rendered, text, text, count),
)
params = st.builds(
    SamplingParams,
    temperature=seconds,
    seed=st.none() | count,
    max_tokens=st.none() | count,
    stop=st.lists(text, max_size=3).map(tuple),
)
messages = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), text), max_size=3
)
request = st.builds(
    GenerationRequest,
    id=text,
    messages=messages.map(tuple),
    prompt=st.none() | text,
    params=params,
    reuse_cache=st.booleans(),
    render_only=st.booleans(),
)
LONG = "x" * protocol.MAX_FRAME


def over_the_wire(frame: protocol.Frame) -> protocol.Frame:
    (received,) = FrameReader().feed(encode(frame))
    return received


@given(event)
def test_every_event_arrives_as_it_was_sent(sent: events.Event) -> None:
    assert protocol.parse_event(over_the_wire(protocol.event_frame(sent))) == sent


@given(request)
def test_every_request_arrives_as_it_was_sent(sent: GenerationRequest) -> None:
    received = over_the_wire(protocol.request_frame(sent))
    assert protocol.parse_request(received["request"]) == sent


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
