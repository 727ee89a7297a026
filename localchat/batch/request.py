"""From a record to what the engine is asked: the row of a run."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from localchat.batch import body
from localchat.batch.body import Unusable
from localchat.batch.plan import Plan
from localchat.batch.record import Record
from localchat.batch.template import MissingColumn, Template
from localchat.types import GenerationRequest, Message, SamplingParams

_URL = "/v1/chat/completions"


class Row(NamedTuple):
    """A record, what is to be asked, and by what it is known again."""

    number: int
    """Among the rows of the input, from 1."""
    line: int
    custom_id: str
    """The row's own, or line-N."""
    source: str
    """JSON of the record's columns."""
    digest: bytes
    """Of what is asked, or of why it can't be."""
    messages: tuple[Message, ...]
    params: SamplingParams
    fault: str = ""
    """Why it can't be asked, as a sentence."""
    names_itself: bool = False
    """Whether the custom_id is the row's own."""


class Requests:
    """Makes rows of records by one plan."""

    def __init__(self, plan: Plan) -> None:
        """Raises UsageError for a prompt that is no template."""
        self._plan = plan
        self._template = None if plan.prompt is None else Template(plan.prompt)
        self._system = (Message("system", plan.system),) if plan.system else ()

    @property
    def columns(self) -> Sequence[str]:
        """What a row needs to have."""
        return [] if self._template is None else self._template.columns

    def row(self, number: int, record: Record) -> Row:
        """Never raises: what is wrong with a record is the row's fault."""
        line = record.line
        own_id, custom_id = False, f"line-{line}"
        source = "{}"
        try:
            if record.fault:
                raise Unusable(record.fault)
            source = _source(record)
            if (given := _custom_id(line, record.columns)) is not None:
                own_id, custom_id = True, given
            messages, changes = self._asked(record.columns)
            params = self._plan.options.params
            if changes:
                params = replace(params, **changes)
            digest = _digest([custom_id, [[m.role, m.content] for m in messages], changes])
        except (Unusable, MissingColumn) as error:
            fault = str(error)
        else:
            return Row(
                number, line, custom_id, source, digest, messages, params, names_itself=own_id
            )
        digest = _digest([custom_id, fault])
        params = self._plan.options.params
        return Row(number, line, custom_id, source, digest, (), params, fault, own_id)

    def request(self, row: Row, id_: str, further: tuple[Message, ...] = ()) -> GenerationRequest:
        """What the engine is sent; `further` messages go on from the row's own."""
        options = self._plan.options
        return GenerationRequest(
            id_,
            (*row.messages, *further),
            params=row.params,
            continuations=self._plan.choices,
            priority="batch",
            reasoning=options.reasoning,
            reasoning_budget=options.reasoning_budget,
            overflow=options.overflow,
        )

    def _asked(self, columns: dict[str, Any]) -> tuple[tuple[Message, ...], dict[str, Any]]:
        """(The messages, the sampling values that are the row's own)."""
        if self._plan.format == "openai":
            return self._of_body(columns)
        if self._template is not None:
            return (*self._system, Message("user", self._template.fill(columns))), {}
        if "messages" in columns:
            own = body.messages(columns["messages"])
            return (own if own[0].role == "system" else (*self._system, *own)), {}
        prompt = columns.get("prompt", columns.get("text"))
        if not isinstance(prompt, str):
            raise Unusable("The row has no 'messages', 'prompt' or 'text', and no prompt is given.")
        return (*self._system, Message("user", prompt)), {}

    def _of_body(self, columns: dict[str, Any]) -> tuple[tuple[Message, ...], dict[str, Any]]:
        content = columns.get("body")
        if not isinstance(content, dict):
            raise Unusable("The row has no 'body'.")
        if columns.get("url", _URL) != _URL:
            raise Unusable(f"The row's 'url' is {columns['url']!r}; only {_URL} can be answered.")
        if columns.get("method", "POST") != "POST":
            raise Unusable(f"The row's 'method' is {columns['method']!r}; it must be 'POST'.")
        own = body.messages(content.get("messages"))
        if own[0].role != "system":
            own = (*self._system, *own)
        changes = body.sampling(content)
        # What is asked of all rows is asked of each: it may have no other form.
        if self._plan.form is not None:
            changes.pop("json_schema", None)
        return own, changes


def _source(record: Record) -> str:
    try:
        source = json.dumps(record.columns, ensure_ascii=False)
        source.encode()
    except UnicodeEncodeError as error:
        raise Unusable("The row is no Unicode text: half a surrogate pair is in it.") from error
    except (TypeError, ValueError) as error:
        raise Unusable(f"The row is no JSON: {error}.") from error
    return source


_LINE_ID = re.compile(r"line-[0-9]+")


def _custom_id(line: int, columns: dict[str, Any]) -> str | None:
    given = columns.get("custom_id")
    if given is None or given == "":
        return None
    if isinstance(given, int) and not isinstance(given, bool):
        return str(given)
    if not isinstance(given, str):
        raise Unusable("The row's 'custom_id' must be a text.")
    if _LINE_ID.fullmatch(given) and given != f"line-{line}":
        raise Unusable(f"{given!r} is what the row of that line is called where it has no name.")
    return given


def _digest(values: list[Any]) -> bytes:
    text = json.dumps(values, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
