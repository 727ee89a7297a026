"""Reads our own JSON; see `own` for what it is."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from localchat.store.formats.own import VERSION
from localchat.store.records import (
    Ending,
    Generation,
    NewConversation,
    NewMessage,
    Provenance,
    Trim,
)
from localchat.types import FinishReason, Role, Timings, Usage

_Whole = Annotated[int, Field(ge=0, lt=2**63)]
_Number = Annotated[float, Field(allow_inf_nan=False)]
Time = Annotated[float, Field(ge=0, lt=253_402_214_400, allow_inf_nan=False)]
"""Seconds since the epoch, up to the end of the calendar."""


def _unplain(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"$float"} and value["$float"] in ("inf", "-inf", "nan"):
            return float(value["$float"])
        return {key: _unplain(inner) for key, inner in value.items()}
    return [_unplain(inner) for inner in value] if isinstance(value, list) else value


class _Usage(BaseModel):
    prompt_tokens: _Whole
    cached_tokens: _Whole
    completion_tokens: _Whole


class _Timings(BaseModel):
    queue: _Number
    prefill: _Number
    decode: _Number


class _Trim(BaseModel):
    dropped: tuple[_Whole, ...]
    summary: str | None


class _Generation(BaseModel):
    model: str
    model_sha256: str | None
    template_sha256: str | None
    engine_build: str | None
    params: dict[str, Any]
    content_from: _Whole
    reasoning_from: _Whole
    finish_reason: FinishReason | None
    seed: _Whole | None
    usage: _Usage | None
    timings: _Timings | None
    trim: _Trim | None
    error: str | None

    def record(self) -> Generation:
        return Generation(
            Provenance(
                self.model,
                self.model_sha256,
                self.template_sha256,
                self.engine_build,
                _unplain(self.params),
            ),
            self.content_from,
            self.reasoning_from,
            self.finish_reason,
            self.seed,
            Usage(**self.usage.model_dump()) if self.usage else None,
            Timings(**self.timings.model_dump()) if self.timings else None,
            Trim(self.trim.dropped, self.trim.summary) if self.trim else None,
            self.error,
        )


class _Message(BaseModel):
    parent: _Whole | None
    role: Role
    content: str
    reasoning: str
    created: Time
    state: Ending
    generations: tuple[_Generation, ...]

    def record(self) -> NewMessage:
        return NewMessage(
            self.role,
            self.content,
            self.parent,
            self.reasoning,
            self.created,
            self.state,
            tuple(one.record() for one in self.generations),
        )


class _Conversation(BaseModel):
    format: Literal["localchat"]
    version: Literal[1]
    id: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    title: str
    title_is_own: bool
    created: Time
    updated: Time
    leaf: _Whole | None
    settings: dict[str, Any]
    source: str | None
    messages: tuple[_Message, ...]

    @model_validator(mode="after")
    def _is_tree(self) -> Self:
        for place, message in enumerate(self.messages):
            named = [one.trim.dropped for one in message.generations if one.trim]
            if message.parent is not None and message.parent >= place:
                raise ValueError(f"message {place} comes before its parent")
            if any(dropped >= place for each in named for dropped in each):
                raise ValueError(f"message {place} names one that comes after it")
        if self.leaf is not None and self.leaf >= len(self.messages):
            raise ValueError("the leaf is no message of it")
        return self


def from_json(value: Any) -> NewConversation:
    """What `own.to_json` wrote. Raises ValueError (pydantic's too)."""
    if isinstance(value, dict) and value.get("version") not in (None, VERSION):
        raise ValueError("was written by another version of localchat")
    found = _Conversation.model_validate(value)
    return NewConversation(
        tuple(message.record() for message in found.messages),
        found.id,
        found.title,
        found.title_is_own,
        found.created,
        found.updated,
        found.leaf,
        _unplain(found.settings),
        found.source,
    )
