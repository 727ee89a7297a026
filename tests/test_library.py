"""localchat from Python: on a scripted client, and as a script does it, on the real starter."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

import localchat
from localchat import library
from localchat.client.scripted import ScriptedClient
from localchat.errors import (
    ContextOverflow,
    EngineDied,
    HistoryFailed,
    InputError,
    ModelNotFound,
    UsageError,
)
from localchat.events import Failed, Finished, ReasoningDelta, Trimmed
from localchat.paths import Paths
from localchat.store.store import Store
from localchat.types import GenerationRequest, Message, SamplingParams, Timings, Usage

END = Finished("", "length", Usage(9, 4, 2), Timings(0.1, 0.2, 0.3), 7)
Use = Callable[..., ScriptedClient]


class Person(BaseModel):
    name: Literal["Ada", "Grace"]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., Path]) -> Use:
    """Answers in the place of a model."""

    def answers(*answers: Any, client: type[ScriptedClient] = ScriptedClient) -> ScriptedClient:
        scripted = client(*answers)
        monkeypatch.setattr(library, "open_engine", lambda *_: scripted)
        return scripted

    monkeypatch.setenv("LOCALCHAT_MODEL", str(tiny()))
    return answers


class TestAsk:
    def test_an_answer_is_its_text_and_tells_the_rest(self, use: Use) -> None:
        client = use([ReasoningDelta("", "Hm"), "Bl", "ue.", END])
        reply = localchat.ask("Sky?", system="Be brief.")
        assert f"{reply}" == reply.text == "Blue."
        assert (reply.reasoning, reply.finish_reason, reply.seed) == ("Hm", "length", 7)
        assert reply.usage == Usage(9, 4, 2)
        assert reply.num_dropped == 0
        assert client.requests[0].messages == (
            Message("system", "Be brief."),
            Message("user", "Sky?"),
        )

    def test_pieces_come_one_by_one_and_can_be_read_again(self, use: Use) -> None:
        client = use(["Bl", "ue", "."])
        reply = localchat.ask("Sky?")
        pieces = iter(reply)
        assert next(pieces) == "Bl"
        assert not client.is_closed
        assert list(reply) == ["Bl", "ue", "."]
        assert list(pieces) == ["ue", "."]
        assert list(reply) == ["Bl", "ue", "."]

    def test_the_engine_is_left_at_the_end(self, use: Use) -> None:
        client = use(["Blue."])
        assert localchat.ask("Sky?").text == "Blue."
        assert client.is_closed

    def test_and_when_nobody_has_the_answer_any_more(self, use: Use) -> None:
        client = use(["Blue."])
        localchat.ask("Sky?")
        gc.collect()
        assert client.is_closed

    def test_nothing_is_written_unless_asked(self, use: Use, places: Paths) -> None:
        client = use(["Blue."], ["Blue."])
        assert localchat.ask("Sky?").text == "Blue."
        assert client.requests[0].private
        assert not places.history.exists()
        assert localchat.ask("Sky?", log=True).text == "Blue."
        assert not client.requests[1].private
        with Store.open(places) as store:
            latest = store.latest()
            assert latest is not None
            assert [one.content for one in store.path(latest.id)] == ["Sky?", "Blue."]

    def test_an_answer_that_can_not_be_kept_is_given_with_a_warning(
        self, use: Use, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> None:
            raise HistoryFailed("The disk is gone.")

        use(["Blue."])
        monkeypatch.setattr(Store, "finish", fail)
        reply = localchat.ask("Sky?", log=True)
        with pytest.warns(UserWarning, match="is not kept in the history: The disk is gone"):
            assert reply.text == "Blue."

    def test_a_question_too_long_fails_rather_than_be_cut(self, use: Use) -> None:
        client = use(["Blue."])
        assert str(localchat.ask("Sky?")) == "Blue."
        assert client.requests[0].overflow == "refuse"


class TestValues:
    def test_sampling_values_reach_the_engine(self, use: Use) -> None:
        client = use(["A"], ["B"], ["C"])
        localchat.ask("x", temperature=0, max_tokens=3, seed=5, stop="END", reasoning="off")
        localchat.ask("x", stop=["a", "b"], grammar="root ::= [a-z]")
        localchat.ask("x", json_schema=Person)
        first, second, third = client.requests
        assert first.params == SamplingParams(temperature=0, max_tokens=3, seed=5, stop=("END",))
        assert first.reasoning == "off"
        assert (second.params.stop, second.params.grammar) == (("a", "b"), "root ::= [a-z]")
        assert json.loads(third.params.json_schema or "")["required"] == ["name"]

    @pytest.mark.parametrize("schema", ['{"type": "object"}', {"type": "object"}])
    def test_a_schema_may_be_a_dict_or_its_text(self, use: Use, schema: Any) -> None:
        client = use(["{}"])
        localchat.ask("x", json_schema=schema)
        assert client.requests[0].params.json_schema == '{"type": "object"}'

    def test_a_preset_gives_instructions(self, use: Use) -> None:
        client = use(["Blau."])
        localchat.ask("Blue.", preset="translate", parameters={"language": "German"})
        assert "German" in client.requests[0].messages[0].content

    @pytest.mark.parametrize(
        ("values", "sentence"),
        [
            ({"temperature": -1}, "'temperature' must be a number, at least 0"),
            ({"temperatur": 1}, "no sampling value 'temperatur'; perhaps 'temperature' is meant"),
            ({"stop": [3]}, "'stop' must be a list of texts"),
            ({"json_schema": int}, "is no JSON schema"),
            ({"preset": "nonsense"}, "nonsense"),
        ],
    )
    def test_values_that_make_no_sense_are_named(
        self, use: Use, values: Any, sentence: str
    ) -> None:
        client = use(["Blue."])
        with pytest.raises(UsageError, match=sentence):
            localchat.ask("Sky?", **values)
        assert not client.requests

    @pytest.mark.parametrize(("prompt", "kind"), [("", UsageError), ("a\ud800", InputError)])
    def test_a_prompt_must_be_a_text(self, use: Use, prompt: str, kind: type[Exception]) -> None:
        client = use(["Blue."])
        with pytest.raises(kind):
            localchat.ask(prompt)
        with pytest.raises(kind), localchat.chat() as chat:
            chat.send(prompt)
        assert not client.requests

    def test_a_model_that_is_not_there_is_not_downloaded(self) -> None:
        with pytest.raises(ModelNotFound) as caught:
            localchat.ask("Sky?")
        assert caught.value.hint == "localchat pull smollm2-135m"


class TestFailures:
    def test_a_failure_raises_what_it_is_whenever_it_is_read(self, use: Use) -> None:
        client = use(["Bl", Failed("", "ContextOverflow", "Too long.", "Shorten it.")])
        reply = localchat.ask("Sky?")
        pieces = iter(reply)
        assert next(pieces) == "Bl"
        for _ in range(2):
            with pytest.raises(ContextOverflow, match="Too long") as caught:
                reply.text  # noqa: B018
        assert caught.value.hint == "Shorten it."
        assert client.is_closed
        reply.stop()  # there is nothing to stop

    def test_an_engine_that_dies_is_told(self, use: Use) -> None:
        class Dying(ScriptedClient):
            def events(self) -> Any:
                yield from ()
                raise EngineDied("The engine ended.")

        client = use(["Blue."], client=Dying)
        reply = localchat.ask("Sky?")
        with pytest.raises(EngineDied):
            str(reply)
        assert client.is_closed

    def test_ctrl_c_ends_the_reply_and_keeps_what_came(self, use: Use) -> None:
        class Interrupted(ScriptedClient):
            def events(self) -> Any:
                yield from [event for event, _ in zip(super().events(), "1", strict=False)]
                raise KeyboardInterrupt

        use(["Bl", "ue."], client=Interrupted)
        reply = localchat.ask("Sky?")
        with pytest.raises(KeyboardInterrupt):
            list(reply)
        assert (reply.text, reply.finish_reason) == ("Bl", "cancelled")
        assert reply.usage.completion_tokens == 0


class TestChat:
    def test_a_conversation_goes_on(self, use: Use) -> None:
        client = use(["Blue."], ["Black."], ["Dark."])
        with localchat.chat(system="Be brief.") as chat:
            assert list(chat.send("Sky?")) == ["Blue."]
            assert str(chat.send("At night?")) == "Black."
            assert str(chat.regenerate()) == "Dark."
            assert chat.conversation is None
            assert [(one.role, one.content) for one in chat.messages] == [
                ("system", "Be brief."),
                ("user", "Sky?"),
                ("assistant", "Blue."),
                ("user", "At night?"),
                ("assistant", "Dark."),
            ]
            assert not client.is_closed
        assert client.is_closed
        assert len(client.requests[1].messages) == 4

    def test_a_reply_that_still_comes_is_stopped_by_the_next_question(self, use: Use) -> None:
        use(["Bl", "ue."], ["Black."])
        with localchat.chat() as chat:
            first = chat.send("Sky?")
            assert next(iter(first)) == "Bl"
            assert chat.send("At night?").text == "Black."
            assert (first.text, first.finish_reason) == ("Bl", "cancelled")

    def test_one_that_nobody_has_read_too(self, use: Use) -> None:
        use(["Blue."], ["Black."])
        with localchat.chat() as chat:
            chat.send("Sky?")
            assert chat.send("At night?").text == "Black."

    def test_stop_ends_the_reply_here(self, use: Use) -> None:
        use(["Bl", "ue."])
        with localchat.chat() as chat:
            reply = chat.send("Sky?")
            for piece in reply:
                assert piece == "Bl"
                reply.stop()
            assert reply.finish_reason == "cancelled"

    def test_what_was_dropped_is_said(self, use: Use) -> None:
        client = use(["Blue."], [Trimmed("", (0, 1)), "Black."])
        with localchat.chat() as chat:
            assert chat.send("Sky?").num_dropped == 0
            assert chat.send("At night?").num_dropped == 2
        assert client.requests[0].overflow == "drop"

    def test_a_conversation_is_kept_where_asked(self, use: Use, places: Paths) -> None:
        use(["Blue."], ["Black."])
        with localchat.chat(log=True, temperature=0.5) as chat:
            assert chat.conversation is None
            str(chat.send("Sky?"))
            str(chat.send("At night?"))
            kept = chat.conversation
        assert kept is not None
        with Store.open(places) as store:
            assert len(store.path(kept)) == 4
            assert store.conversation(kept).settings["sampling"] == {"temperature": 0.5}

    def test_a_damaged_history_is_told(self, use: Use, places: Paths) -> None:
        use(["Blue."])
        places.history.parent.mkdir(parents=True)
        places.history.write_bytes(b"nonsense" * 1000)
        with pytest.warns(UserWarning, match="damaged"), localchat.chat(log=True) as chat:
            assert str(chat.send("Sky?")) == "Blue."


class TestPackage:
    def test_importing_it_loads_nothing(self) -> None:
        listing = (
            "import sys; before = set(sys.modules); import localchat;"
            "print(sorted(set(sys.modules) - before - {'typing'}))"
        )
        done = subprocess.run(
            [sys.executable, "-c", f"import typing; {listing}"], capture_output=True, text=True
        )
        assert done.stdout == "['localchat']\n", done.stderr

    def test_names_it_does_not_have_are_refused(self) -> None:
        with pytest.raises(AttributeError, match="'asks'"):
            localchat.asks  # type: ignore[attr-defined]  # noqa: B018

    def test_every_name_is_there(self) -> None:
        for name in localchat.__all__:
            assert getattr(localchat, name)


@pytest.mark.usefixtures("installed_starter")
class TestWithTheStarter:
    @pytest.fixture(autouse=True)
    def _one_thread(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOCALCHAT_THREADS", "1")

    def test_a_script_of_one_line(self, home: Path) -> None:
        script = "import localchat; print(localchat.ask('Why is the sky blue?', max_tokens=20))"
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert len(done.stdout) > 20

    def test_a_schema_is_kept(self) -> None:
        question = 'Invent a person. Answer in JSON: {"name": …}'
        reply = localchat.ask(question, json_schema=Person, max_tokens=40, temperature=0)
        assert reply.finish_reason == "stop"
        assert Person.model_validate_json(reply.text).name in ("Ada", "Grace")

    def test_a_reply_can_be_stopped_and_the_chat_goes_on(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with localchat.chat(temperature=0, max_tokens=200) as chat:
                long = chat.send("Count to one hundred, please.")
                assert next(iter(long))
                long.stop()
                assert long.finish_reason == "cancelled"
                assert long.usage.completion_tokens < 200
                assert chat.send("What is the capital of France?").text
                assert chat.messages[1].content == long.text

    def test_an_unread_answer_stops_its_engine_work(self, places: Paths) -> None:
        from localchat.client.engines import running
        from tests.conftest import wait_until

        localchat.ask("Count to one thousand, please.", temperature=0)
        gc.collect()
        (engine,) = running(places)
        assert wait_until(lambda: running(places)[0].is_idle)
        assert engine


def test_a_request_is_as_the_command_makes_it(use: Use) -> None:
    """`GenerationRequest` has what `localchat ask` gives it, but for what is private."""
    client = use(["Blue."])
    str(localchat.ask("Sky?", seed=3))
    request = client.requests[0]
    assert request == GenerationRequest(
        request.id,
        (Message("user", "Sky?"),),
        params=SamplingParams(seed=3),
        conversation=request.conversation,
        private=True,
    )
