"""What rows ask, in every format, and by what they are known again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from localchat.batch.readers.source import Source
from localchat.batch.record import Record
from localchat.batch.request import Requests, Row
from localchat.types import Message
from tests.batch import plan_of

pytestmark = pytest.mark.usefixtures("home")


class Asking:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, columns: dict[str, Any], format_: str = "jsonl", **given: Any) -> Row:
        path = self._folder / "in"
        path.write_text("a\nb\n")
        source = Source(str(path), format_)  # type: ignore[arg-type]
        source.close()
        return Requests(plan_of(source, **given)).row(1, Record(4, columns))


@pytest.fixture
def ask(tmp_path: Path) -> Asking:
    return Asking(tmp_path)


def openai(**body: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "hi"}]
    return {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt", "messages": messages, **body},
    }


def test_a_template_makes_a_message(ask: Asking) -> None:
    row = ask({"text": "x"}, prompt="Say {text}.", system="Be brief.")
    assert row.messages == (Message("system", "Be brief."), Message("user", "Say x."))
    assert (row.custom_id, row.names_itself, row.source) == ("line-4", False, '{"text": "x"}')
    assert row.fault == ""


@pytest.mark.parametrize("name", ["prompt", "text"])
def test_an_object_may_bring_its_prompt(ask: Asking, name: str) -> None:
    assert ask({name: "hi"}).messages == (Message("user", "hi"),)


def test_an_object_may_bring_messages(ask: Asking) -> None:
    own = [{"role": "developer", "content": "S"}, {"role": "user", "content": "U"}]
    row = ask({"messages": own}, system="Ours")
    assert row.messages == (Message("system", "S"), Message("user", "U"))
    row = ask({"messages": own[1:]}, system="Ours")
    assert row.messages == (Message("system", "Ours"), Message("user", "U"))


def test_openai_bodies_have_their_own_values(ask: Asking) -> None:
    row = ask(
        openai(
            temperature=0.5,
            top_p=0.9,
            max_completion_tokens=7,
            stop="END",
            seed=3,
            n=2,
            logprobs=True,
            top_logprobs=4,
            logit_bias={"50": -100},
            presence_penalty=1,
            frequency_penalty=None,
            response_format={"type": "text"},
            user="someone",
        ),
        "openai",
        temperature=0.1,
        frequency_penalty=0.5,
    )
    assert row.fault == ""
    assert (row.custom_id, row.names_itself) == ("a", True)
    params = row.params
    assert (params.temperature, params.top_p, params.max_tokens, params.seed) == (0.5, 0.9, 7, 3)
    assert (params.stop, params.n, params.logprobs) == (("END",), 2, 4)
    assert (params.logit_bias, params.presence_penalty) == (((50, -100.0),), 1)
    assert params.frequency_penalty == 0.5  # the run's, where the row says nothing


def test_a_response_format_is_a_schema(ask: Asking) -> None:
    schema = {"type": "object", "properties": {}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    row = ask(openai(response_format=form), "openai")
    assert json.loads(row.params.json_schema or "") == schema
    row = ask(openai(response_format={"type": "json_object"}), "openai")
    assert json.loads(row.params.json_schema or "") == {"type": "object"}


def test_the_content_may_be_parts_of_text(ask: Asking) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    row = ask(openai(messages=[{"role": "user", "content": parts}]), "openai")
    assert row.messages == (Message("user", "ab"),)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"messages": []}, "'messages' must be a list of at least one message."),
        ({"messages": ["x"]}, "Message 1 must be an object with 'role' and 'content'."),
        ({"messages": [{"role": "tool", "content": "x"}]}, "Message 1 can't have the role 'tool'."),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "Message 1 can't have the role"),
        ({"messages": [{"role": "user"}]}, "The content of message 1 must be text."),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "The content of message 1 must be text.",
        ),
        ({"temprature": 1}, "'temprature' is nothing that localchat can heed."),
        ({"tools": []}, "'tools' is nothing that localchat can heed."),
        ({"temperature": 99}, "'temperature' must be a number"),
        ({"temperature": "hot"}, "'temperature' must be a number"),
        ({"max_tokens": 0}, "'max_tokens' must be a whole number from 1"),
        ({"n": True}, "'n' must be a whole number from 1 to 64."),
        ({"stop": [1]}, "'stop' must be a text or a list of texts."),
        ({"logprobs": 3}, "'logprobs' must be true or false."),
        ({"top_logprobs": 3}, "'top_logprobs' needs 'logprobs': true."),
        ({"logit_bias": {"a": 1}}, "'logit_bias' must give a number for ids of tokens."),
        ({"logit_bias": [1]}, "'logit_bias' must give a number for ids of tokens."),
        ({"response_format": {"type": "xml"}}, "'response_format' must be of the type text"),
    ],
)
def test_what_a_body_can_not_say(ask: Asking, body: dict[str, Any], why: str) -> None:
    row = ask(openai(**body), "openai")
    assert row.fault.startswith(why) or why in row.fault
    assert row.custom_id == "a"


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"custom_id": "a"}, "The row has no 'body'."),
        ({**openai(), "url": "/v1/embeddings"}, "The row's 'url' is '/v1/embeddings'"),
        ({**openai(), "method": "GET"}, "The row's 'method' is 'GET'"),
        ({**openai(), "custom_id": ["a"]}, "The row's 'custom_id' must be a text."),
        ({**openai(), "custom_id": "line-7"}, "'line-7' is what the row of that line is called"),
    ],
)
def test_what_a_batch_row_can_not_be(ask: Asking, columns: dict[str, Any], why: str) -> None:
    assert ask(columns, "openai").fault.startswith(why)


@pytest.mark.parametrize(("given", "id_"), [("x", "x"), (7, "7"), ("", "line-4"), ("line-4",) * 2])
def test_ids(ask: Asking, given: Any, id_: str) -> None:
    assert ask({"text": "x", "custom_id": given}).custom_id == id_


def test_half_a_surrogate_pair_is_a_fault(ask: Asking) -> None:
    for columns in ({"text": "\ud800"}, {"text": "x", "custom_id": "\udc00"}):
        row = ask(columns)
        assert row.fault == "The row is no Unicode text: half a surrogate pair is in it."
        assert (row.custom_id, row.source) == ("line-4", "{}")


def test_a_missing_column_is_a_fault_that_names_it(ask: Asking) -> None:
    assert ask({"a": 1}, prompt="{b}").fault == "The row has no column 'b'."


def test_what_is_asked_decides_the_digest(ask: Asking) -> None:
    same = [ask({"text": "x", "other": other}, prompt="{text}") for other in (1, 2)]
    assert same[0].digest == same[1].digest
    others = [
        ask({"text": "y"}, prompt="{text}"),
        ask({"text": "x"}, prompt="{text}", system="S"),
        ask({"text": "x", "custom_id": "a"}, prompt="{text}"),
        ask(openai(), "openai"),
        ask(openai(seed=1), "openai"),
    ]
    assert len({row.digest for row in [same[0], *others]}) == 6
