"""rename, continue, rm and purge."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from localchat import snapshot_files
from localchat.client.scripted import ScriptedClient
from localchat.engine.snapshots import SnapshotStore
from localchat.paths import Paths
from localchat.store.records import NewConversation, NewMessage
from localchat.store.store import Store
from tests.cli.terminal import on_terminal

from .conftest import NOON, OLD, SKY, Add, Done, Runner

pytestmark = pytest.mark.usefixtures("filled")

STATE = bytes(200_000)


@pytest.fixture
def saved(places: Paths) -> Callable[[], set[str]]:
    """Has engines keep a state of each conversation; whose are there still."""
    store = SnapshotStore(places.snapshots, "ab" * 32, 10**9)
    for number, id_ in enumerate((SKY, OLD)):
        store.write([number], STATE, conversation=id_)
    owners = {snapshot_files.owner_of(id_): id_ for id_ in (SKY, OLD)}

    def found() -> set[str]:
        files = snapshot_files.entries(places.snapshots)
        heads = [snapshot_files.load_head(one.path) for one in files]
        return {owners[head.owner] for head in heads if head}

    assert found() == {SKY, OLD}
    return found


def ids(history: Runner) -> list[str]:
    return [one["id"] for one in json.loads(history("list", "--json").out)]


class TestRename:
    def test_a_title_and_none(self, history: Runner) -> None:
        assert history("rename", "5e", "The", " sky\n") == Done(0, "5eaf  The sky\n", "")
        assert history("list").out.splitlines()[0].endswith("The sky")
        assert history("rename", "5e").out == "5eaf  Why is the sky blue?\n"

    def test_for_programs(self, history: Runner) -> None:
        told = json.loads(history("rename", "-", "--json", "New").out)
        assert (told["id"], told["title"]) == (SKY, "New")

    def test_a_title_that_is_no_text(self, history: Runner) -> None:
        done = history("rename", "5e", "\udcff")
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("Error: The title is not UTF-8 text")


class TestContinue:
    def test_it_is_asked_in_the_conversation(
        self, scripted: Callable[..., int], history: Runner, places: Paths
    ) -> None:
        client = ScriptedClient(["Because."])
        assert scripted(client, "history", "continue", "01", "And", "why?", "--temp", "0.1") == 0
        (request,) = client.requests
        assert [message.content for message in request.messages] == [
            "An old question",
            "Yes.",
            "And why?",
        ]
        assert (request.conversation, request.params.temperature) == (OLD, 0.1)
        with Store.open(places) as store:
            assert [one.content for one in store.path(OLD)][-2:] == ["And why?", "Because."]

    def test_the_last_one(self, scripted: Callable[..., int]) -> None:
        client = ScriptedClient(["Dark."])
        assert scripted(client, "history", "continue", "-", "--json", "And later?") == 0
        assert client.requests[0].conversation == SKY

    def test_one_that_is_not_there(self, history: Runner) -> None:
        done = history("continue", "ffff", "Hi")
        assert (done.code, done.out) == (3, "")
        assert done.err.startswith("Error: There is no conversation ffff.")


class TestRm:
    def test_it_goes_with_all_that_is_kept_of_it(
        self, history: Runner, saved: Callable[[], set[str]]
    ) -> None:
        assert history("rm", "-y", "5e") == Done(0, "Deleted 1 conversation.\n", "")
        assert ids(history) == [OLD]
        assert saved() == {OLD}

    def test_several_for_programs(self, history: Runner, saved: Callable[[], set[str]]) -> None:
        told = json.loads(history("rm", "--yes", "5e", "01", SKY, "--json").out)
        assert (told["conversations"], told["snapshots"], told["ids"]) == (2, 2, [SKY, OLD])
        assert told["freed"] > 2 * len(STATE)
        assert ids(history) == []
        assert saved() == set()

    def test_a_script_has_to_say_yes(self, history: Runner) -> None:
        assert history("rm", "5e", "01") == Done(
            2,
            "",
            "Error: There is no terminal to ask on whether to delete it.\n"
            "Try: localchat history rm -y 5eaf 01d0\n",
        )
        assert len(ids(history)) == 2

    def test_one_wrong_id_and_nothing_goes(
        self, history: Runner, saved: Callable[[], set[str]]
    ) -> None:
        done = history("rm", "-y", "5e", "ffff")
        assert done.code == 3
        assert len(ids(history)) == 2
        assert saved() == {SKY, OLD}

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    @pytest.mark.parametrize(
        ("typed", "code", "said"),
        [
            (b"y\n", 0, b"Deleted 1 conversation.\r\n"),
            (b"n\n", 0, b"Nothing was deleted.\r\n"),
        ],
    )
    def test_it_asks(self, history: Runner, typed: bytes, code: int, said: bytes) -> None:
        done, written = on_terminal("history", "rm", "5e", answer=(b"[y/N]", typed))
        assert done == code
        assert b"Delete 5eaf (Why is the sky blue?)? [y/N]:" in written
        assert written.endswith(said)
        assert (SKY in ids(history)) == (typed != b"y\n")


class TestPurge:
    def test_what_is_old_goes(
        self, history: Runner, saved: Callable[[], set[str]], places: Paths
    ) -> None:
        done = history("purge", "--older-than", "2023-11-01", "-y")
        assert done.code == 0
        assert done.out.startswith("Deleted 1 conversation with 2 messages and 1 saved state: 0.")
        assert ids(history) == [SKY]
        assert saved() == {SKY}

    def test_a_rehearsal(self, history: Runner, saved: Callable[[], set[str]]) -> None:
        done = history("purge", "--older-than", "2023-11-01", "--dry-run")
        assert done == Done(0, "Would delete 1 conversation with 2 messages.\n", "")
        told = json.loads(history("purge", "--older-than", "1w", "--dry-run", "--json").out)
        assert (told["conversations"], told["messages"], told["dry_run"]) == (2, 8, True)
        assert len(ids(history)) == 2
        assert saved() == {SKY, OLD}

    def test_nothing_is_old(self, history: Runner) -> None:
        done = history("purge", "--older-than", "2020-01-01", "-y")
        assert done == Done(0, "", "No conversation was last used before 2020-01-01 00:00.\n")

    def test_a_script_has_to_say_yes(self, history: Runner) -> None:
        done = history("purge", "--older-than", "2023-11-01")
        assert done.code == 2
        assert done.err.endswith("Try: localchat history purge --older-than 2023-11-01T00:00 -y\n")
        assert len(ids(history)) == 2

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_it_asks(self, history: Runner) -> None:
        asked = ("history", "purge", "--older-than", "1d")
        code, written = on_terminal(*asked, answer=(b"[y/N]", b"n\n"))
        assert code == 0
        assert b"Delete 2 conversations with 8 messages, last used before " in written
        assert len(ids(history)) == 2

    @pytest.mark.parametrize(
        ("age", "seconds"),
        [("90m", 5400), ("12h", 43_200), ("30d", 2_592_000), ("8w", 4_838_400), ("1D", 86_400)],
    )
    def test_ages(
        self, history: Runner, monkeypatch: pytest.MonkeyPatch, age: str, seconds: int
    ) -> None:
        monkeypatch.setattr(time, "time", lambda: NOON)
        told = json.loads(history("purge", "--older-than", age, "--dry-run", "--json").out)
        assert told["before"] == NOON - seconds

    @pytest.mark.parametrize("age", ["", "30", "d", "-1d", "1y", "soon", "2025-02-30", "30 days"])
    def test_what_is_no_age(self, history: Runner, age: str) -> None:
        done = history("purge", "--older-than", age, "-y")
        assert done.code == 2
        assert "is neither an age such as 30d nor a date such as 2025-01-31." in done.err
        assert len(ids(history)) == 2


class TestWrongIds:
    COMMANDS = (["show"], ["tree"], ["rename"], ["export"], ["rm", "-y"], ["continue"])

    @pytest.mark.parametrize("command", COMMANDS)
    @pytest.mark.parametrize("id_", ["ffff", "xyz", "5eaf' OR 1", "\x1b[31m"])
    def test_unknown(self, history: Runner, command: list[str], id_: str) -> None:
        done = history(*command, id_, *(["x"] if command == ["continue"] else []))
        assert (done.code, done.out) == (3, "")
        assert "There is no conversation" in done.err
        assert "\x1b" not in done.err

    @pytest.mark.parametrize("command", COMMANDS)
    def test_ambiguous(self, history: Runner, add: Add, command: list[str]) -> None:
        add(NewConversation((NewMessage("user", "Hi"),), "5eb0" + "0" * 12))
        done = history(*command, "5e", *(["x"] if command == ["continue"] else []))
        assert (done.code, done.out) == (2, "")
        assert "5eaf (Why is the sky blue?)" in done.err
        assert "5eb0 (Hi)" in done.err


class TestDamage:
    def test_it_is_told_once_and_what_is_left_is_there(
        self, history: Runner, places: Paths
    ) -> None:
        with places.history.open("r+b") as file:
            file.write(b"\0" * 100)
        done = history("list", "--json")
        assert done.code == 0
        assert done.err.count("\n") == 1
        assert done.err.startswith("Note: The history was damaged")
        assert {one["id"] for one in json.loads(done.out)} == {SKY, OLD}
        assert history("list").err == ""
        damaged = json.loads(history("stats", "--json").out)["damaged"]
        assert all(Path(path).exists() for path in damaged)
        assert damaged

    def test_one_of_a_newer_localchat_can_be_read_only(
        self, history: Runner, places: Paths, saved: Callable[[], set[str]], tmp_path: Path
    ) -> None:
        connection = apsw.Connection(str(places.history))
        connection.pragma("user_version", 99)
        connection.close()
        for command in ("list", "show", "tree", "stats", "search sky", "export"):
            assert history(*command.split()).code == 0
        file = tmp_path / "file.jsonl"
        file.write_text('{"messages": [{"role": "user", "content": "Hi"}]}')
        for command in (
            "rename 5e New",
            "rm -y 5e",
            "purge --older-than 1d -y",
            f"import {file}",
        ):
            done = history(*command.split())
            assert (done.code, done.out) == (1, "")
            assert "A newer localchat has written the history" in done.err
        assert saved() == {SKY, OLD}
