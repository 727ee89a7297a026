"""The language between a client and an engine process: one JSON object per line.

Client to engine, by "op":

    token   token                          comes first where there is no Unix socket
    hello   version, keep_alive            from a client: the engine stays while it is connected
    submit  request                        a GenerationRequest
    cancel  id
    status                                 answered at any time, also without hello
    stop    drain                          leave now, or (drain) when the last client has left

Engine to client:

    welcome version, pid                   answers hello at once
    ready   info                           once the model is loaded: EngineInfo
    event   event, fields                  see localchat.events
    status  ...                            see localchat.host.server
    bye     reason                         the engine leaves
    failed  kind, message, hint            the engine can't serve; it leaves
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Callable
from typing import Any

from localchat import events
from localchat.errors import EngineFailed
from localchat.types import (
    Choice,
    GenerationRequest,
    Message,
    PartialReply,
    SamplingParams,
    Score,
    Timings,
    Usage,
)

MAX_FRAME = 32 * 2**20  # bytes of one line

Frame = dict[str, Any]


def encode(frame: Frame) -> bytes:
    return json.dumps(frame, separators=(",", ":")).encode() + b"\n"


class FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._partial = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes. Raises EngineFailed for anything else."""
        searched = len(self._partial)
        self._partial += data
        if self._partial.find(b"\n", searched) < 0:
            if len(self._partial) > MAX_FRAME:
                raise EngineFailed(f"A message is longer than {MAX_FRAME:,} bytes.")
            return []
        *lines, rest = bytes(self._partial).split(b"\n")
        self._partial = bytearray(rest)
        return [_parse(line) for line in lines]


def _parse(line: bytes) -> Frame:
    try:
        frame = json.loads(line)
    except (ValueError, RecursionError):
        frame = None
    if not isinstance(frame, dict) or not isinstance(frame.get("op"), str):
        raise EngineFailed("A message is not what client and engine have agreed on.")
    return frame


def request_frame(request: GenerationRequest) -> Frame:
    return {"op": "submit", "request": dataclasses.asdict(request)}


def parse_request(fields: Any) -> GenerationRequest:
    """Raises EngineFailed if `fields` do not make a request."""
    try:
        params = fields["params"]
        params = params | {
            "stop": tuple(params["stop"]),
            "logit_bias": tuple((token, float(bias)) for token, bias in params["logit_bias"]),
        }
        partial = fields.get("partial_reply")
        return GenerationRequest(
            **fields
            | {
                "messages": tuple(Message(**message) for message in fields["messages"]),
                "partial_reply": None if partial is None else PartialReply(**partial),
                "params": SamplingParams(**params),
                "continuations": tuple(fields["continuations"]),
            }
        )
    except (TypeError, KeyError, ValueError) as error:
        raise EngineFailed(f"A request can't be understood: {error}.") from error


def event_frame(event: events.Event) -> Frame:
    # Deltas are the bulk; dataclasses.asdict would copy deeply at ten times the cost.
    if isinstance(event, events.TextDelta):
        return {
            "op": "event",
            "event": "TextDelta",
            "request_id": event.request_id,
            "text": event.text,
            "choice": event.choice,
            "tokens": event.tokens,
        }
    return {"op": "event", "event": type(event).__name__, **dataclasses.asdict(event)}


def parse_event(frame: Frame) -> events.Event:
    """Raises EngineFailed if the frame is no event of ours."""
    fields = {key: value for key, value in frame.items() if key not in ("op", "event")}
    kind = _EVENTS.get(str(frame.get("event")))
    if kind is None:
        raise EngineFailed(f"The engine sent an unknown event: {frame.get('event')}.")
    try:
        for name, parse in _NESTED.items():
            if name in fields:
                fields[name] = parse(fields[name])
        event: events.Event = kind(**fields)
    except (TypeError, KeyError, ValueError) as error:
        raise EngineFailed(f"The engine sent a message that can't be read: {error}.") from error
    return event


_EVENTS: dict[str, Any] = {kind.__name__: kind for kind in typing.get_args(events.Event)}
# What JSON has no type for, by the name of the field.
_NESTED: dict[str, Callable[[Any], Any]] = {
    "usage": lambda fields: Usage(**fields),
    "timings": lambda fields: Timings(**fields),
    "choices": lambda found: tuple(Choice(**fields) for fields in found),
    "scores": lambda found: tuple(Score(**fields) for fields in found),
    "dropped": tuple,
    "message_tokens": tuple,
    "said": lambda found: tuple((start, end) for start, end in found),
    "top": lambda found: tuple((text, logprob) for text, logprob in found),
}
