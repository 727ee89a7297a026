"""What a row itself says of its request: messages and sampling values, by OpenAI's names."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from localchat.errors import UsageError
from localchat.presets.preset import check_sampling
from localchat.types import Message, Role

_ROLES: dict[Any, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
# A preset may set these, so they are checked as there.
_CHECKED = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repeat_penalty",
    "frequency_penalty",
    "presence_penalty",
    "seed",
)
# What decides nothing here: who pays, who is told, which of the service's models is meant.
_IGNORED = {
    "model",
    "user",
    "metadata",
    "store",
    "stream",
    "stream_options",
    "service_tier",
    "parallel_tool_calls",
    "prompt_cache_key",
    "safety_identifier",
}
_MOST = 64  # completions of one prompt


class Unusable(ValueError):
    """Why a row can't be asked, as a sentence."""


def messages(value: Any) -> tuple[Message, ...]:
    """A conversation. Raises Unusable."""
    if not isinstance(value, list) or not value:
        raise Unusable("'messages' must be a list of at least one message.")
    return tuple(_message(number, one) for number, one in enumerate(value, 1))


def sampling(body: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `localchat.types.SamplingParams` that a body sets. Raises Unusable."""
    found: dict[str, Any] = {}
    checked: dict[str, Any] = {}
    for key, value in body.items():
        if key == "messages" or key in _IGNORED or value is None:
            continue
        if key in _CHECKED:
            checked[key] = value
        elif key in _OWN:
            found |= _OWN[key](key, value)
        elif key == "top_logprobs":
            found |= _top_logprobs(body.get("logprobs"), value)
        else:
            raise Unusable(f"{key!r} is nothing that localchat can heed.")
    if checked:
        try:
            found |= check_sampling(checked)
        except UsageError as error:
            raise Unusable(str(error)) from error
    return found


def _message(number: int, value: Any) -> Message:
    if not isinstance(value, dict):
        raise Unusable(f"Message {number} must be an object with 'role' and 'content'.")
    role = _ROLES.get(value.get("role")) if isinstance(value.get("role"), str) else None
    if role is None:
        raise Unusable(f"Message {number} can't have the role {value.get('role')!r}.")
    return Message(role, _content(number, value.get("content")))


def _content(number: int, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        texts = [
            part["text"]
            for part in value
            if isinstance(part, dict)
            and part.get("type") == "text"
            and isinstance(part.get("text"), str)
        ]
        if len(texts) == len(value):
            return "".join(texts)
    raise Unusable(f"The content of message {number} must be text.")


def _limit(key: str, value: Any) -> dict[str, Any]:
    return {"max_tokens": _whole(key, value, 1, 2**31)}


def _count(key: str, value: Any) -> dict[str, Any]:
    return {"n": _whole(key, value, 1, _MOST)}


def _stop(key: str, value: Any) -> dict[str, Any]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(text and isinstance(text, str) for text in texts):
        raise Unusable(f"{key!r} must be a text or a list of texts.")
    return {"stop": tuple(texts)}


def _logprobs(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, bool):
        raise Unusable(f"{key!r} must be true or false.")
    return {"logprobs": 0} if value else {}


def _top_logprobs(logprobs: Any, value: Any) -> dict[str, Any]:
    if logprobs is not True:
        raise Unusable("'top_logprobs' needs 'logprobs': true.")
    return {"logprobs": _whole("top_logprobs", value, 0, 100)}


def _logit_bias(key: str, value: Any) -> dict[str, Any]:
    pairs = value.items() if isinstance(value, dict) else [(None, None)]
    biases = []
    for token, bias in pairs:
        if (
            not isinstance(token, str)
            or not token.isascii()
            or not token.isdigit()
            or isinstance(bias, bool)
            or not isinstance(bias, int | float)
            or not math.isfinite(bias)
        ):
            raise Unusable(f"{key!r} must give a number for ids of tokens.")
        biases.append((int(token[:9]), float(bias)))
    return {"logit_bias": tuple(biases)}


def _response_format(key: str, value: Any) -> dict[str, Any]:
    match value:
        case {"type": "text"}:
            return {}
        case {"type": "json_object"}:
            return {"json_schema": '{"type": "object"}'}
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return {"json_schema": json.dumps(schema)}
    raise Unusable(f"{key!r} must be of the type text, json_object or json_schema.")


def _whole(key: str, value: Any, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise Unusable(f"{key!r} must be a whole number from {least} to {most:,}.")
    return value


_OWN = {
    "max_tokens": _limit,
    "max_completion_tokens": _limit,
    "n": _count,
    "stop": _stop,
    "logprobs": _logprobs,
    "logit_bias": _logit_bias,
    "response_format": _response_format,
}
