from __future__ import annotations

import pytest

from localchat.client.scripted import ScriptedClient
from localchat.errors import EngineFailed, TemplateFailed, UsageError
from localchat.events import Failed, ReasoningDelta, Rendered, TextDelta
from localchat.session.ephemeral import Ephemeral
from localchat.session.options import Options
from localchat.session.session import Session
from localchat.tui.chats.context import ContextUse, Cost, measure
from localchat.types import ModelRef


def talk(client: ScriptedClient, options: Options | None = None) -> Session:
    """A conversation with one turn."""
    model = ModelRef("small", "/small.gguf")
    session = Session(client, Ephemeral(), model, options or Options(), system="Be brief.")
    for _ in session.send("Sky?"):
        pass
    return session


def test_each_message_has_its_role_and_cost() -> None:
    rendered = Rendered("", "[Be brief.][Sky?]Blue.", 20, (4, 2, 5), said=((1, 10), (12, 16)))
    client = ScriptedClient([ReasoningDelta("", "Hm"), "Blue."], rendered)
    use = measure(client, talk(client))
    assert use.costs == (
        Cost("system", "Be brief.", 4),
        Cost("user", "Sky?", 2),
        Cost("assistant", "Blue.", 5),
    )
    assert (use.messages, use.template, use.left) == (11, 9, 8192 - 20)
    assert (use.prompt, use.is_too_long) == (rendered.prompt, False)
    assert use.parts == [
        ("[", True),
        ("Be brief.", False),
        ("][", True),
        ("Sky?", False),
        ("]Blue.", True),
    ]


def test_what_would_be_sent_with_a_text_and_left_out_for_it() -> None:
    rendered = Rendered("", "…", 8200, (4, 2, 5, 8000), dropped=(1, 2))
    client = ScriptedClient(["Blue."], rendered)
    use = measure(client, talk(client, Options(overflow="summarise")), "x" * 10_000)
    assert [(cost.role, cost.is_dropped) for cost in use.costs] == [
        ("system", False),
        ("user", True),
        ("assistant", True),
        ("user", False),
    ]
    assert client.requests[1].messages[-1].content == "x" * 10_000
    assert len(use.costs[-1].words) < 1000
    assert (use.messages, use.template, use.left) == (8004, 196, 0)
    assert use.is_too_long
    assert use.is_summarised


def test_a_reply_that_only_thinks_so_far_shows_its_thoughts() -> None:
    client = ScriptedClient([ReasoningDelta("", "Hm")], Rendered("", "…", 9, (4, 2, 1)))
    assert measure(client, talk(client)).costs[-1] == Cost("assistant", "Hm", 1)


def test_numbers_are_never_negative() -> None:
    """Tokens at the edges of messages may be counted with both."""
    use = ContextUse((Cost("user", "x", 9),), 8, 4, "x")
    assert (use.template, use.left) == (0, 0)


def test_a_failure_is_the_error_it_names() -> None:
    client = ScriptedClient(["Blue."], Failed("", "TemplateFailed", "It is odd."))
    with pytest.raises(TemplateFailed, match="odd"):
        measure(client, talk(client))


def test_events_of_other_requests_are_not_its_own() -> None:
    client = ScriptedClient(["Blue."], Rendered("", "…", 9, (4, 2, 1)))
    session = talk(client)
    client._queue.append(TextDelta("an earlier one", "x"))
    client._queue.append(Failed("an earlier one", "EngineFailed", "It broke."))
    assert measure(client, session).prompt_tokens == 9


def test_an_engine_that_says_nothing_has_failed() -> None:
    client = ScriptedClient(["Blue."], [])
    client.submit = lambda request: None  # type: ignore[method-assign]
    model = ModelRef("small", "/small.gguf")
    session = Session(client, Ephemeral(), model, Options(), system="Be brief.")
    with pytest.raises(EngineFailed):
        measure(client, session)


def test_there_is_nothing_to_measure_yet() -> None:
    client = ScriptedClient()
    with pytest.raises(UsageError):
        measure(client, Session(client, None, ModelRef("small", "/small.gguf"), Options()))
