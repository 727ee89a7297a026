"""`localchat -c`: what is kept of a command, and how another one goes on with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localchat.cli import engine, main
from localchat.client.scripted import ScriptedClient
from localchat.errors import HistoryFailed
from localchat.events import Failed, Finished, Rendered, TextDelta, Trimmed
from localchat.paths import Paths
from localchat.store.records import NewConversation, NewMessage, Outcome, Provenance
from localchat.store.store import Store
from localchat.types import Choice, Timings, Usage
from tests.conftest import CommandRunner

Tiny = Callable[..., Path]
Run = Callable[..., ScriptedClient]
END = Finished("", "stop", Usage(1, 0, 1), Timings(0.0, 0.0, 0.0), 7)


class Shell:
    """Runs command lines in this process, each on an engine that says the words given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.client = ScriptedClient()
        self.models: list[str] = []
        self.out = self.err = ""

    def run(self, *arguments: str, answer: Any = ("Yes.",), code: int = 0) -> str:
        """What is printed; the request is in `client`, the rest of the story in `err`."""
        self.client = ScriptedClient(answer)

        def open_engine(model: Any, *_: Any) -> ScriptedClient:
            self.models.append(model.name)
            return self.client

        self._monkeypatch.setattr(engine, "open_engine", open_engine)
        assert main.run([*arguments]) == code
        self.out, self.err = self._capsys.readouterr()
        return self.out

    @property
    def messages(self) -> list[tuple[str, str]]:
        (request,) = self.client.requests
        return [(message.role, message.content) for message in request.messages]


@pytest.fixture
def model(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> str:
    path = str(tiny())
    monkeypatch.setenv("LOCALCHAT_MODEL", path)
    return path


@pytest.fixture
def shell(model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.setattr("sys.stdin", None)
    return Shell(monkeypatch, capsys)


@pytest.fixture
def store(places: Paths) -> Iterator[Store]:
    with Store.open(places) as store:
        yield store


class TestGoingOn:
    def test_the_last_conversation_goes_on(self, shell: Shell) -> None:
        shell.run("Sky?", "-s", "Be brief.", answer=["Blue."])
        shell.run("-c", "Always?")
        assert shell.messages == [
            ("system", "Be brief."),
            ("user", "Sky?"),
            ("assistant", "Blue."),
            ("user", "Always?"),
        ]
        shell.run("ask", "--continue", "Why?", answer=["Hm."])
        assert [content for _, content in shell.messages][3:] == ["Always?", "Yes.", "Why?"]

    def test_another_one_goes_on_by_the_beginning_of_its_id(self, shell: Shell) -> None:
        first = json.loads(shell.run("Sky?", "--json", answer=["Blue."]))
        shell.run("Grass?", answer=["Green."])
        shell.run("--cid", first["conversation"][:6], "Always?")
        assert shell.messages[0] == ("user", "Sky?")
        shell.run("-c", "Really?")
        assert len(shell.messages) == 5, "it is the last one now"

    def test_its_settings_may_have_other_instructions(self, shell: Shell, store: Store) -> None:
        shell.run("Sky?", "-s", "Be brief.", answer=["Blue."])
        latest = store.latest()
        assert latest is not None
        for system, shown in (("Be long.", [("system", "Be long.")]), ("", [])):
            store.set_settings(latest.id, {**latest.settings, "system": system})
            shell.run("-c", "Always?")
            assert shell.messages[: len(shown) + 1] == [*shown, ("user", "Sky?")]
        assert store.path(latest.id)[0].content == "Be brief."

    def test_ids_are_in_the_json(self, shell: Shell, store: Store) -> None:
        found = json.loads(shell.run("Sky?", "--json", answer=["Blue."]))
        reply = store.message(found["message"])
        assert (reply.conversation, reply.content) == (found["conversation"], "Blue.")
        again = json.loads(shell.run("-c", "Always?", "--json"))
        assert again["conversation"] == found["conversation"]
        assert store.message(again["message"]).parent == found["message"] + 1

    def test_several_answers_are_branches_and_the_first_goes_on(self, shell: Shell) -> None:
        ends = (Choice("stop", 1, 7), Choice("stop", 1, 8))
        end = Finished("", "stop", Usage(1, 0, 2), Timings(0.0, 0.0, 0.0), 7, ends)
        shell.run(
            "Sky?", "-n", "2", answer=[TextDelta("", "Grey.", 1), TextDelta("", "Blue."), end]
        )
        shell.run("-c", "Always?")
        assert ("assistant", "Blue.") in shell.messages

    def test_what_is_left_out_is_said(self, shell: Shell) -> None:
        shell.run("Sky?", answer=["Blue."])
        shell.run("-c", "Always?", answer=[Trimmed("", (0, 1)), "Yes."])
        assert shell.err == (
            "Note: the conversation is longer than the context;"
            " its 2 oldest messages are left out.\n"
        )
        assert shell.client.requests[0].overflow == "drop"
        shell.run("-c", "Always?", answer=[Trimmed("", (0,), "Sky"), "Yes."])
        assert shell.err.endswith("; its oldest message is summarised.\n")

    def test_the_policy_is_a_setting_and_for_what_goes_on_only(
        self, shell: Shell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LOCALCHAT_OVERFLOW", "summarise")
        policies = []
        for arguments in (("Sky?",), ("-c", "Always?")):
            shell.run(*arguments)
            policies.append(shell.client.requests[0].overflow)
        assert policies == ["refuse", "summarise"]

    def test_the_prompt_that_would_be_sent_can_be_seen(self, shell: Shell, store: Store) -> None:
        shell.run("Sky?", answer=["Blue."])
        shell.run("-c", "Always?", "--show-prompt", answer=Rendered("", "…", 9))
        assert len(shell.messages) == 3
        assert store.stats().messages == 2


class TestACutOffReply:
    CUT = Finished("", "length", Usage(1, 0, 1), Timings(0.0, 0.0, 0.0), 7)

    def test_goes_on_without_a_prompt(self, shell: Shell, store: Store) -> None:
        shell.run("Count to four", answer=("One, two,", self.CUT))
        assert shell.run("-c", answer=(" three, four.", END)) == " three, four.\n"
        (request,) = shell.client.requests
        assert request.partial_reply is not None
        assert request.partial_reply.content == "One, two,"
        latest = store.latest()
        assert latest is not None
        user, reply = store.path(latest.id)
        assert (user.content, reply.content) == ("Count to four", "One, two, three, four.")
        assert reply.state == "complete"

    def test_of_a_killed_command_goes_on_too(self, shell: Shell, store: Store) -> None:
        shell.run("Count to four", answer=("One, two,", END))
        latest = store.latest()
        assert latest is not None
        reply = store.path(latest.id)[-1].id
        store.continue_reply(reply, Provenance("a model"))
        store.finish(reply, "One, two,", "", Outcome("incomplete"))
        shell.run("--cid", latest.id, answer=(" three.", END))
        assert store.message(reply).content == "One, two, three."

    def test_a_complete_one_does_not(self, shell: Shell) -> None:
        shell.run("Count to two", answer=("One, two.", END))
        shell.run("-c", code=2)
        assert "the last reply is complete" in shell.err


class TestTheDailyCheck:
    @pytest.mark.parametrize("due", [True, False])
    def test_comes_when_it_is_due(
        self, shell: Shell, monkeypatch: pytest.MonkeyPatch, due: bool
    ) -> None:
        checked: list[Store] = []
        monkeypatch.setattr(Store, "is_check_due", due)
        monkeypatch.setattr(Store, "check", lambda store: checked.append(store))
        shell.run("one")
        assert len(checked) == due

    def test_what_it_finds_is_told(self, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(_: Store) -> None:
            raise HistoryFailed("The disk is gone.")

        monkeypatch.setattr(Store, "is_check_due", True)
        monkeypatch.setattr(Store, "check", broken)
        assert shell.run("one") == "Yes.\n"
        assert "Note: The disk is gone." in shell.err


class TestModelAndSettings:
    def test_they_are_the_conversations_own(
        self, shell: Shell, tiny: Tiny, model: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = str(tiny(seed=5))
        shell.run("Sky?", "-m", other, "--temp", "0.1", "--top-k", "3", "--reasoning", "off")
        monkeypatch.setenv("LOCALCHAT_TEMPERATURE", "0.9")
        monkeypatch.setenv("LOCALCHAT_TOP_P", "0.4")
        shell.run("-c", "Always?")
        (request,) = shell.client.requests
        assert shell.models[-1] == other
        assert (request.params.temperature, request.params.top_k) == (0.1, 3)
        assert request.params.top_p == 0.95, "not of the settings that came later"
        assert request.reasoning == "off"
        shell.run("Grass?")
        assert shell.models[-1] == model
        assert shell.client.requests[0].params.top_p == 0.4

    def test_flags_hold_for_their_turn(self, shell: Shell, tiny: Tiny, model: str) -> None:
        other = str(tiny(seed=5))
        shell.run("Sky?", "--temp", "0.1")
        shell.run("-c", "Always?", "--temp", "0.5", "-m", other)
        assert shell.models[-1] == other
        assert shell.client.requests[0].params.temperature == 0.5
        shell.run("-c", "Why?")
        assert shell.models[-1] == model
        assert shell.client.requests[0].params.temperature == 0.1

    def test_what_shapes_one_answer_does_not_last(self, shell: Shell) -> None:
        shell.run("Sky?", "--max-tokens", "3", "--stop", "x", "--seed", "5", "--json-schema", "{}")
        shell.run("-c", "Always?")
        params = shell.client.requests[0].params
        assert (params.max_tokens, params.stop, params.json_schema) == (None, (), None)
        assert params.seed != 5

    def test_a_preset_lasts_and_another_takes_its_place(self, shell: Shell) -> None:
        shell.run("Hello", "-t", "translate", "-p", "language=German", "--top-k", "3")
        assert "German" in shell.messages[0][1]
        shell.run("-c", "Good day")
        assert "German" in shell.messages[0][1]
        first = shell.client.requests[0].params
        shell.run("-c", "Good day", "-t", "creative")
        assert shell.client.requests[0].params.temperature == 1.1 != first.temperature
        assert shell.messages[0][1].count("German") >= 1

    def test_an_imported_one_has_the_users_own(
        self, shell: Shell, store: Store, model: str
    ) -> None:
        settings = {"model": 7, "reasoning": "perhaps", "sampling": {"temperature": "hot"}}
        messages = (NewMessage("user", "Sky?"), NewMessage("assistant", "Blue.", 0))
        for one in ({}, settings):
            store.add([NewConversation(messages, settings=one, updated=1e12 + len(one))])
            shell.run("-c", "Always?")
            assert shell.models[-1] == model
            assert shell.client.requests[0].params.temperature == 0.8


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("-s", "Be brief."), "Instructions stand at the beginning"),
            (("-p", "language=German"), "Instructions stand at the beginning"),
            (("--raw",), "--raw sends a text alone"),
        ],
    )
    def test_what_makes_no_sense(self, shell: Shell, arguments: tuple[str, ...], said: str) -> None:
        shell.run("Sky?")
        shell.run("-c", "Always?", *arguments, code=2)
        assert said in shell.err
        assert not shell.client.requests

    def test_without_a_history_none_is_made(self, shell: Shell, places: Paths) -> None:
        for flags in (("-c",), ("--cid", "ab12")):
            shell.run(*flags, "Always?", code=3)
            assert "There is no conversation to go on with." in shell.err
        assert not places.history.exists()

    def test_an_id_that_none_has(self, shell: Shell) -> None:
        shell.run("Sky?")
        shell.run("--cid", "xyz", "Always?", code=3)
        assert "There is no conversation xyz" in shell.err

    def test_an_id_that_several_have(self, shell: Shell, store: Store) -> None:
        for number in range(17):
            store.add([NewConversation((NewMessage("user", f"{number}"),))])
        ids = [line.conversation.id for line in store.newest(17)]
        first = next(digit for digit in "0123456789abcdef" if sum(i[0] == digit for i in ids) > 1)
        shell.run("--cid", first, "Always?", code=2)
        assert "Several conversations" in shell.err

    def test_after_a_failure_the_conversation_goes_on(self, shell: Shell, store: Store) -> None:
        shell.run("Sky?", answer=["Blue."])
        shell.run("-c", "Always?", answer=Failed("", "EngineFailed", "No."), code=1)
        assert store.search("Always")
        shell.run("-c", "Really?")
        assert [content for _, content in shell.messages] == ["Sky?", "Blue.", "Really?"]


class TestNotKept:
    @pytest.fixture(params=["closed", "refuses"])
    def broken(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, shell: Shell
    ) -> None:
        """A history with a conversation that can't be opened, or not be written, any more."""
        shell.run("Sky?")

        def fail(*_: Any, **__: Any) -> None:
            raise HistoryFailed("The disk is gone.", "Find it.")

        monkeypatch.setattr(Store, "open" if request.param == "closed" else "start_turn", fail)

    @pytest.mark.usefixtures("broken")
    def test_the_answer_comes_with_a_note(self, shell: Shell) -> None:
        assert shell.run("Grass?", answer=["Green."]) == "Green.\n"
        note = "Note: this is not kept in the history: The disk is gone.\nTry: Find it.\n"
        assert shell.err == note
        found = json.loads(shell.run("Grass?", "--json"))
        assert "conversation" not in found

    @pytest.mark.usefixtures("broken")
    def test_what_goes_on_needs_it(self, shell: Shell) -> None:
        shell.run("-c", "Always?", code=1)
        assert shell.err == "Error: The disk is gone.\nTry: Find it.\n"
        assert not shell.client.requests

    def test_an_end_that_can_not_be_written_is_told(
        self, shell: Shell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise HistoryFailed("The disk is gone.")

        monkeypatch.setattr(Store, "finish", fail)
        assert shell.run("Sky?", answer=["Blue."]) == "Blue.\n"
        assert shell.err == "Note: this is not kept in the history: The disk is gone.\n"

    def test_a_folder_that_can_not_be_made(self, shell: Shell, places: Paths) -> None:
        places.data.parent.mkdir(parents=True)
        places.data.touch()
        assert shell.run("Sky?", answer=["Blue."]) == "Blue.\n"
        assert "Note: this is not kept in the history: " in shell.err

    def test_nothing_is_kept_of_a_raw_text(self, shell: Shell, places: Paths) -> None:
        shell.run("--raw", "Once")
        assert not places.history.exists()

    def test_a_conversation_can_be_asked_aside(self, shell: Shell, store: Store) -> None:
        shell.run("Sky?", answer=["Blue."])
        shell.run("-c", "--no-log", "Always?")
        assert len(shell.messages) == 3
        assert shell.client.requests[0].private
        assert store.stats().messages == 2


@pytest.mark.usefixtures("installed_starter")
class TestEngine:
    """Of a conversation that goes on only the new words are computed."""

    BRIEF = ("--temp", "0", "--max-tokens", "24", "--json")
    LONG = "Here is what I know. " + " ".join(f"Fact {n} is about {n * 7}." for n in range(40))

    @pytest.fixture(autouse=True)
    def _one_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOCALCHAT_THREADS", "1")

    @pytest.mark.parametrize("between", ["warm", "stopped"])
    def test_the_rest_is_found(self, localchat: CommandRunner, between: str) -> None:
        first = json.loads(localchat(self.LONG, *self.BRIEF).stdout)
        if between == "stopped":
            assert localchat("stop", "--all").returncode == 0
        words = "What was the second fact?"
        usage = json.loads(localchat("-c", words, *self.BRIEF).stdout)["usage"]
        there = first["usage"]["prompt_tokens"] + first["usage"]["completion_tokens"]
        # The last token of the reply was sampled, but not computed; around the new words the
        # template puts its marks.
        assert usage["cached_tokens"] >= there - 1
        assert usage["prompt_tokens"] - usage["cached_tokens"] < 24
