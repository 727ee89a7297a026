"""What `localchat chat` opens with; the screen itself is tested in tests/tui."""

from __future__ import annotations

from pathlib import Path

import pytest

from localchat.paths import Paths
from localchat.store.records import NewConversation, NewMessage
from localchat.store.store import Store
from tests.conftest import CommandRunner
from tests.tui.terminal import Terminal


def keep(places: Paths, *titles: str) -> list[str]:
    with Store.open(places) as store:
        found = store.add(
            [
                NewConversation(
                    (NewMessage("user", f"About {title}"), NewMessage("assistant", "Yes.", 0)),
                    title=title,
                )
                for title in titles
            ]
        )
    return [id_ for id_ in found if id_ is not None]


def test_the_last_conversation_opens_with_c(places: Paths) -> None:
    keep(places, "whales")
    keep(places, "ants")
    with Terminal("chat", "-c") as at:
        at.until(lambda text: "▎ About ants" in text)


def test_any_conversation_opens_by_the_beginning_of_its_id(places: Paths) -> None:
    first, _ = keep(places, "whales", "ants")
    with Terminal("chat", "--cid", first[:8]) as at:
        at.until(lambda text: "▎ About whales" in text)


def test_localchat_alone_opens_the_screen() -> None:
    with Terminal() as at:
        at.until(lambda text: "What is on your mind?" in text or "Fits this machine" in text)


def test_what_was_chosen_by_flags_is_what_a_chat_begins_with(places: Paths) -> None:
    with Terminal("chat", "-m", "gemma3-270m", "--no-log") as at:
        at.until(lambda text: "gemma3-270m" in text and "nothing is kept" in text)
    with Store.open(places) as store:  # its list of conversations may have made the file
        assert store.stats().conversations == 0


def test_a_row_of_a_batch_opens_as_a_conversation(
    localchat: CommandRunner, installed_starter: Path, tmp_path: Path
) -> None:
    table = tmp_path / "in.txt"
    table.write_text("Say hello.\n")
    out = tmp_path / "out.jsonl"
    done = localchat("batch", str(table), "-o", str(out), "--max-tokens", "4")
    assert done.returncode == 0, done.stderr
    with Terminal("chat", "--from", f"{out}:line-1") as at:
        at.until(lambda text: "▎ Say hello." in text)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("-c",), 2, "no conversation"),
        (("--cid", "ffff"), 3, "ffff"),
        (("--from", "nothing.jsonl:1"), 2, "no batch"),
        (("-c", "--from", "x:1"), 2, "give one"),
        (("-t", "nowhere"), 2, "nowhere"),
        (("--florp",), 2, "florp"),
    ],
)
def test_what_can_not_be_opened_is_said(
    places: Paths, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    with Terminal("chat", *arguments) as at:
        assert at.wait() == code
        assert sentence in at.text
        assert b"Traceback" not in at.written
        assert b"\x1b[?1049h" not in at.written


def test_a_bad_configuration_is_said_before_the_screen_opens(places: Paths) -> None:
    places.config_file.parent.mkdir(parents=True, exist_ok=True)
    places.config_file.write_text('[keys]\n"chat.nwe" = "f5"\n')
    with Terminal("chat") as at:
        assert at.wait() == 2
        assert "did you mean 'chat.new'" in at.text
        assert b"\x1b[?1049h" not in at.written
