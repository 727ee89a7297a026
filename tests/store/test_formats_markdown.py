"""Conversations for people to read."""

from __future__ import annotations

from localchat.store.formats.markdown import to_markdown
from localchat.store.records import Conversation, Generation, Provenance, StoredMessage

CONVERSATION = Conversation("0" * 16, "A\ntitle", False, 1.7e9, 1.7e9, 3, {})
MODEL = (Generation(Provenance("tiny")),)


def test_a_conversation() -> None:
    path = [
        StoredMessage(1, "c", None, "system", "Be.", "", 1.0, "complete"),
        StoredMessage(2, "c", 1, "user", "Hi\n\n> quoted", "", 1.0, "complete"),
        StoredMessage(3, "c", 2, "assistant", "", "Hm.\n\nWell.", 1.0, "incomplete", MODEL),
    ]
    assert to_markdown(CONVERSATION, path) == (
        "# A title\n\n*2023-11-14, localchat 0000000000000000*\n\n"
        "## Instructions\n\nBe.\n\n## You\n\nHi\n\n> quoted\n\n"
        "## Assistant (tiny)\n\n> Hm.\n>\n> Well.\n\n*(incomplete)*\n"
    )


def test_code_that_is_left_open_does_not_swallow_the_rest() -> None:
    def block(content: str) -> str:
        path = [StoredMessage(1, "c", None, "user", content, "", 1.0, "complete")]
        return to_markdown(CONVERSATION, path).split("## You\n\n")[1]

    assert block("```py\nx = 1") == "```py\nx = 1\n```\n"
    assert block("```py\nx = 1\n```\n") == "```py\nx = 1\n```\n"
    assert block("~~~~\n```\n~~~\n") == "~~~~\n```\n~~~\n~~~~\n"
    assert block("````\n```\n````\n```") == "````\n```\n````\n```\n```\n"
    assert block("a ``` b") == "a ``` b\n"


def test_a_time_that_no_calendar_has() -> None:
    assert "*?, localchat" in to_markdown(CONVERSATION._replace(created=1e300), [])
