"""What reaches the user of the words a model says: compared exactly, the words being chosen."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from localchat.client.scripted import ScriptedClient
from localchat.events import Event, Failed, Finished, ReasoningDelta, TextDelta, TokenLogprobs
from localchat.types import Choice, Timings, Usage

Answer = Callable[..., int]


@pytest.fixture
def answer(scripted: Answer) -> Answer:
    """`localchat ask hi`, with more arguments."""
    return lambda client, *arguments: scripted(client, "ask", "hi", *arguments)


def thought(*, choice: int = 0) -> list[Event]:
    return [
        ReasoningDelta("", "Let me\x1b[5m ", choice),
        ReasoningDelta("", "see.", choice),
        TextDelta("", "Yes.", choice),
    ]


def finished(*choices: Choice) -> Finished:
    return Finished("", "stop", Usage(1, 0, 2), Timings(0.0, 0.0, 0.0), 7, choices)


TWO: list[str | Event] = [
    TextDelta("", "b", 1),
    TextDelta("", "a1", 0),
    TextDelta("", "a2\n", 0),
    ReasoningDelta("", "hm", 1),
    finished(Choice("stop", 2, 7), Choice("length", 1, 8)),
]
"""Two completions, interleaved."""


HOSTILE = ("\x1b]52;c;", "AAAA\x07\x1b[2J", "a\x9b31m\u202eb\r\n", "end\x7f")


def test_escape_sequences_are_cleaned(answer: Answer, capsys: pytest.CaptureFixture[str]) -> None:
    for flags in ((), ("--no-stream",)):
        assert answer(ScriptedClient(HOSTILE), *flags) == 0
        assert capsys.readouterr() == ("]52;c;AAAA[2Ja31mb\nend\n", "")


def test_in_json_they_are_escaped(answer: Answer, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(ScriptedClient(HOSTILE), "--json") == 0
    out = capsys.readouterr().out
    assert not {*out} & {"\x1b", "\x07", "\x9b", "\u202e", "\x7f", "\r"}
    assert json.loads(out)["text"] == "".join(HOSTILE)


def test_a_newline_at_the_end_is_not_doubled(
    answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(ScriptedClient(["one\n"])) == 0
    assert capsys.readouterr().out == "one\n"


def test_an_empty_answer_is_an_empty_line(
    answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(ScriptedClient([])) == 0
    assert capsys.readouterr().out == "\n"


def test_a_failure_is_the_error_it_names(
    answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, code in (
        ("OutOfSpace", 5),
        ("EngineFailed", 1),
        ("Unheard", 1),
        ("SystemExit", 1),
    ):
        client = ScriptedClient(Failed("1", kind, "It \x1b[1mfailed.", "a \x07hint"))
        assert answer(client) == code
        assert capsys.readouterr() == ("", "Error: It [1mfailed.\nTry: a hint\n")


def test_flags_win_over_settings_and_those_over_the_model(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALCHAT_TEMPERATURE", "0.5")
    monkeypatch.setenv("LOCALCHAT_TOP_K", "7")
    client = ScriptedClient(["x"])
    answer(client, "--temp", "0", "--stop", "a", "--stop", "b")
    (request,) = client.requests
    assert (request.params.temperature, request.params.top_k) == (0.0, 7)
    assert request.params.stop == ("a", "b")


def test_raw_sends_one_prompt_without_messages(answer: Answer) -> None:
    client = ScriptedClient(["x"])
    answer(client, "--raw", "-s", "system")
    assert (client.requests[0].messages, client.requests[0].prompt) == ((), "system\n\nhi")


class TestReasoning:
    def test_without_a_terminal_it_is_nowhere(
        self, answer: Answer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for flags in ((), ("--no-stream",), ("--hide-reasoning",)):
            assert answer(ScriptedClient(thought()), *flags) == 0
            assert capsys.readouterr() == ("Yes.\n", "")

    @pytest.mark.parametrize("flags", [(), ("--no-stream",)])
    def test_on_a_terminal_it_is_dim_and_stands_apart(
        self,
        answer: Answer,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        flags: tuple[str, ...],
    ) -> None:
        monkeypatch.setattr("sys.stderr.isatty", lambda: True)
        assert answer(ScriptedClient(thought()), *flags) == 0
        out, err = capsys.readouterr()
        assert out == "Yes.\n"
        _, _, shown = err.rpartition("\r\x1b[K")
        assert shown == "\x1b[2mLet me[5m \x1b[0m\x1b[2msee.\x1b[0m\n\n"

    def test_a_reply_that_is_all_thinking_ends_its_line(
        self, answer: Answer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stderr.isatty", lambda: True)
        assert answer(ScriptedClient([ReasoningDelta("", "hm")])) == 0
        out, err = capsys.readouterr()
        assert out == "\n"
        assert err.endswith("\x1b[2mhm\x1b[0m\n\n")

    @pytest.mark.parametrize("flags", [("--hide-reasoning",), ("--json",), ("-n", "2")])
    def test_on_a_terminal_it_can_be_hidden(
        self,
        answer: Answer,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        flags: tuple[str, ...],
    ) -> None:
        monkeypatch.setattr("sys.stderr.isatty", lambda: True)
        ends = [Choice("stop", 1, 7), Choice("stop", 1, 8)] if "-n" in flags else []
        assert answer(ScriptedClient([*thought(), finished(*ends)]), *flags) == 0
        out, err = capsys.readouterr()
        assert "Yes." in out
        assert "see" not in err

    def test_in_json_it_has_a_key_of_its_own(
        self, answer: Answer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert answer(ScriptedClient(thought()), "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["text"], found["reasoning"]) == ("Yes.", "Let me\x1b[5m see.")

    @pytest.mark.parametrize(
        ("setting", "flags", "mode", "budget"),
        [
            ("", (), "auto", None),
            ("off", (), "off", None),
            ("off", ("--reasoning", "on", "--reasoning-budget", "0"), "on", 0),
        ],
    )
    def test_the_flags_arrive(
        self,
        answer: Answer,
        monkeypatch: pytest.MonkeyPatch,
        setting: str,
        flags: tuple[str, ...],
        mode: str,
        budget: int | None,
    ) -> None:
        monkeypatch.setenv("LOCALCHAT_REASONING", setting)
        client = ScriptedClient(["x"])
        assert answer(client, *flags) == 0
        (request,) = client.requests
        assert (request.reasoning, request.reasoning_budget) == (mode, budget)


class TestSeveralAnswers:
    def test_an_empty_line_is_between_two(
        self, answer: Answer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        client = ScriptedClient(TWO)
        assert answer(client, "-n", "2", "--max-tokens", "1") == 0
        assert capsys.readouterr() == ("a1a2\n\nb\n", "")
        assert client.requests[0].params.n == 2

    def test_in_json_each_has_its_end(
        self, answer: Answer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert answer(ScriptedClient(TWO), "-n", "2", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert found["text"] == "a1a2\n"
        assert found["choices"] == [
            {"text": "a1a2\n", "finish_reason": "stop", "seed": 7, "message": 2},
            {"text": "b", "finish_reason": "length", "seed": 8, "reasoning": "hm", "message": 3},
        ]
        assert found["message"] == 2

    def test_one_without_a_word_counts_too(
        self, answer: Answer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ends = [Choice("stop", 1, seed) for seed in range(3)]
        silent: list[str | Event] = [TextDelta("", "a", 1), finished(*ends)]
        assert answer(ScriptedClient(silent, silent), "-n", "3", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert [choice["text"] for choice in found["choices"]] == ["", "a", ""]

    def test_any_that_was_cut_is_told(
        self, answer: Answer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert answer(ScriptedClient(TWO), "-n", "2") == 0
        assert "the context is full" in capsys.readouterr().err
        bounds = ("-n", "2", "--max-tokens", "1", "--json-schema", "{}")
        assert answer(ScriptedClient(TWO), *bounds) == 0
        note = "Note: --max-tokens ended the reply before it was complete.\n"
        assert capsys.readouterr().err == note


class TestLogprobs:
    SCORED: tuple[Any, ...] = (
        TokenLogprobs("", "Y", -0.5, (("Y", -0.5), ("\ufffd", -1.5))),
        "Y",
        TokenLogprobs("", "es", -0.25, ()),
        "es",
    )

    def test_they_are_in_the_json(self, answer: Answer, capsys: pytest.CaptureFixture[str]) -> None:
        client = ScriptedClient(self.SCORED)
        assert answer(client, "--json", "--logprobs", "2") == 0
        top = [{"token": "Y", "logprob": -0.5}, {"token": "\ufffd", "logprob": -1.5}]
        assert json.loads(capsys.readouterr().out)["logprobs"] == [
            {"token": "Y", "logprob": -0.5, "top": top},
            {"token": "es", "logprob": -0.25, "top": []},
        ]
        assert client.requests[0].params.logprobs == 2

    def test_they_need_json(self, answer: Answer, capsys: pytest.CaptureFixture[str]) -> None:
        client = ScriptedClient(self.SCORED)
        assert answer(client, "--logprobs", "0") == 2
        assert capsys.readouterr() == (
            "",
            "Error: --logprobs needs --json.\nTry: localchat ask --help\n",
        )
        assert not client.requests


def test_preset_and_bias_arrive(answer: Answer) -> None:
    client = ScriptedClient(["x"])
    assert answer(client, "--preset", "greedy", "--logit-bias", "7=-inf") == 0
    (request,) = client.requests
    assert request.params.temperature == 0
    assert request.params.logit_bias == ((7, -float("inf")),)
