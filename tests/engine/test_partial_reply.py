"""A reply that goes on: its prompt, its text, and that it says what it would have said uncut."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import pytest

from localchat.engine import prompt as prompts
from localchat.engine.chat_template import ChatTemplate
from localchat.engine.load import LoadedEngine, load
from localchat.engine.markers import HARMONY, Markers, find_markers, resumed
from localchat.engine.prompt import Prompt, PromptBuilder
from localchat.engine.reasoning import ReasoningParser
from localchat.errors import UsageError
from localchat.events import Event, Finished, TextDelta
from localchat.llama.model import Model
from localchat.llama.vocabulary import Vocabulary
from localchat.types import (
    GenerationRequest,
    LoadOptions,
    Message,
    ModelRef,
    PartialReply,
    ReasoningMode,
    SamplingParams,
)
from tests.engine.test_engine import Bench
from tests.tiny_models import CHATML, CONTROL_TOKENS, TURN_START, write_tiny_model

HELLO = (Message("user", "Hello"),)
THINKING = CHATML + "{{ '<think>'[:0] }}{{ '</think>'[:0] }}"
OPENING = CHATML + "{{ '<think>\\n' }}{{ '</think>'[:0] }}"
CHANNELS = CHATML + "{{ '<|channel|><|message|>'[:0] }}"


def builder(vocabulary: Vocabulary, template: str | None = CHATML) -> PromptBuilder:
    if template is None:
        return PromptBuilder(vocabulary, None)
    return PromptBuilder(vocabulary, ChatTemplate(template, bos=vocabulary.bos, eos=vocabulary.eos))


def build(
    prompts: PromptBuilder, content: str, reasoning: str = "", mode: ReasoningMode = "auto"
) -> tuple[Prompt, Prompt]:
    """The prompt of a reply that goes on, and of one that begins."""
    request = GenerationRequest("r", HELLO, reasoning=mode)
    partial = replace(request, partial_reply=PartialReply(content, reasoning))
    return prompts.build(partial), prompts.build(request)


def tail(prompts: PromptBuilder, content: str, reasoning: str, mode: ReasoningMode) -> str:
    """The text that a reply adds to the prompt."""
    partial, whole = build(prompts, content, reasoning, mode)
    assert partial.tokens[: len(whole.tokens)] == whole.tokens, "what was computed can be reused"
    assert partial.num_said == len(partial.tokens) - len(whole.tokens)
    return partial.text.removeprefix(whole.text)


class TestPrompt:
    def test_it_ends_with_the_reply_as_text(self, starter_vocabulary: Vocabulary) -> None:
        vocabulary = starter_vocabulary
        partial, whole = build(builder(vocabulary), "The sky is")
        said = partial.tokens[len(whole.tokens) :]
        assert said == vocabulary.tokenize("The sky is", add_special=False, parse_special=False)
        assert partial.text == f"{whole.text}The sky is"
        assert whole.num_said == 0

    def test_nothing_said_yet_is_a_reply_that_begins(self, starter_vocabulary: Vocabulary) -> None:
        partial, whole = build(builder(starter_vocabulary, THINKING), "")
        assert partial == whole

    def test_control_tokens_in_it_stay_text(self, starter_vocabulary: Vocabulary) -> None:
        vocabulary = starter_vocabulary
        control = set(vocabulary.control_tokens.values())
        for spelling in vocabulary.control_tokens:
            partial, whole = build(builder(vocabulary), f"a{spelling}b")
            said = partial.tokens[len(whole.tokens) :]
            assert not control.intersection(said)
            assert b"".join(map(vocabulary.piece, said)).decode() == f"a{spelling}b"

    @pytest.mark.parametrize("architecture", ["llama", "gemma3"])
    @pytest.mark.parametrize("text", ["hello", " hello", "  the", "\nhello", "the\n", "<|im_end|>"])
    def test_no_space_is_put_in_front(
        self, tiny: Callable[..., Path], architecture: str, text: str
    ) -> None:
        """As some tokenizers do with a text of its own."""
        model = Model(str(tiny(architecture)))
        vocabulary = model.vocabulary
        for template in (CHATML, None):
            partial, whole = build(builder(vocabulary, template), text)
            said = partial.tokens[len(whole.tokens) :]
            assert b"".join(map(vocabulary.piece, said)).decode() == text
        model.close()

    def test_a_raw_text_goes_on_too(self, starter_vocabulary: Vocabulary) -> None:
        request = GenerationRequest("r", prompt="Once", partial_reply=PartialReply(" upon"))
        prompt = builder(starter_vocabulary).build(request)
        assert prompt.text == "Once upon"
        assert prompt.num_said == 1

    def test_a_marker_that_is_found_in_any_text_is_not_made_of_the_reply(
        self, starter_vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """As Qwen's <think> would be."""
        path = write_tiny_model(tmp_path / "model.gguf", "llama")
        kinds = gguf.GGUFReader(path, "r+").fields["tokenizer.ggml.token_type"]
        kinds.parts[kinds.data[CONTROL_TOKENS.index(TURN_START)]][0] = gguf.TokenType.USER_DEFINED
        monkeypatch.setattr(prompts, "find_markers", lambda source: Markers(TURN_START, "</t>"))
        model = Model(str(path))
        partial, whole = build(builder(model.vocabulary, CHATML), f"a {TURN_START} b")
        said = partial.tokens[len(whole.tokens) :]
        assert b"".join(map(model.vocabulary.piece, said)).decode() == f"a {TURN_START} b"
        assert len(said) > len(TURN_START)
        model.close()


class TestThinking:
    @pytest.mark.parametrize(
        ("template", "mode", "reply", "expected"),
        [
            # it still thinks
            (THINKING, "auto", ("", "Hm"), "<think>\nHm"),
            (OPENING, "auto", ("", "Hm"), "Hm"),
            # it has thought, and answers
            (THINKING, "auto", ("Yes", "Hm."), "<think>\nHm.\n</think>\n\nYes"),
            (OPENING, "on", ("Yes", "Hm."), "Hm.\n</think>\n\nYes"),
            # it has not thought: where it had to begin, that is over
            (THINKING, "auto", ("Yes", ""), "Yes"),
            (OPENING, "auto", ("Yes", ""), "\n</think>\n\nYes"),
            # it is not to think
            (THINKING, "off", ("Yes", ""), "Yes"),
            (THINKING, "off", ("Yes", "Hm."), "Yes"),
            (OPENING, "off", ("Yes", "Hm."), "Yes"),
            # it does not think
            (CHATML, "auto", ("Yes", "Hm."), "Yes"),
        ],
    )
    def test_the_span_is_closed_before_the_answer(
        self,
        starter_vocabulary: Vocabulary,
        template: str,
        mode: ReasoningMode,
        reply: tuple[str, str],
        expected: str,
    ) -> None:
        prompts = builder(starter_vocabulary, template)
        assert tail(prompts, *reply, mode) == expected
        partial, _ = build(prompts, *reply, mode)
        assert partial.inside == (reply[0] == "")

    def test_channels(self) -> None:
        prompt = "<|start|>assistant"
        assert resumed(HARMONY, prompt, "Hm", answers=False) == (
            "<|channel|>analysis<|message|>",
            "",
        )
        assert resumed(HARMONY, prompt, "Hm", answers=True) == (
            "<|channel|>analysis<|message|>",
            "<|end|><|start|>assistant<|channel|>final<|message|>",
        )
        answer = "<|channel|>final<|message|>"
        assert resumed(HARMONY, prompt, "", answers=True) == ("", answer)
        assert resumed(HARMONY, prompt + answer, "", answers=True) == ("", "")

    def test_a_marked_answer_is_begun(self) -> None:
        markers = find_markers("<think> </think> <answer> </answer>")
        assert markers is not None
        assert resumed(markers, "", "Hm", answers=True) == ("<think>\n", "\n</think>\n\n<answer>")

    @pytest.mark.parametrize("markers", [Markers("<think>", "</think>"), HARMONY])
    def test_a_thought_goes_on_as_it_was_written(self, markers: Markers) -> None:
        """The newlines at its beginning are not those after a marker."""
        parser = ReasoningParser(markers, inside=True, begun=True)
        pieces = [*parser.push(f"\n\nSo{markers.end}"), *parser.flush()]
        assert pieces == [("reasoning", "\n\nSo")]

    @pytest.mark.parametrize("text", ["\n\n<think>a</think>", "</think>\nb", "\n", "plain"])
    def test_an_answer_goes_on_as_it_was_written(self, text: str) -> None:
        parser = ReasoningParser(Markers("<think>", "</think>"), begun=True)
        assert [*parser.push(text), *parser.flush()] == [("answer", text)]

    def test_the_end_of_an_answer_is_still_left_out(self) -> None:
        parser = ReasoningParser(HARMONY, begun=True)
        pieces = [*parser.push(" it is.<|end|>"), *parser.flush()]
        assert "".join(text for _, text in pieces) == " it is."


class TestEngine:
    def test_only_what_is_new_is_said(self) -> None:
        bench = Bench({"p": b"one two"})
        bench.ask(GenerationRequest("r", prompt="p", partial_reply=PartialReply("one")))
        bench.run()
        assert bench.text() == " two"
        assert bench.end().usage.completion_tokens == len(" two") + 1
        assert bench.end().usage.prompt_tokens == len("pone")

    def test_an_answer_that_has_begun_has_no_thoughts_any_more(self) -> None:
        template = "[{{ messages[0].content }}]{{ '<think></think>'[:0] }}"
        bench = Bench({"[q]": b"Write <think>this</think>."}, template=template)
        request = GenerationRequest("r", (Message("user", "q"),))
        bench.ask(replace(request, partial_reply=PartialReply("Write ")))
        bench.run()
        assert (bench.text(), bench.thoughts()) == ("<think>this</think>.", "")

    def test_what_was_computed_for_its_beginning_is_used(self) -> None:
        bench = Bench({"p" * 9: b"one two"})
        bench.submit("p" * 9, max_tokens=4)
        bench.run()
        bench.ask(GenerationRequest("next", prompt="p" * 9, partial_reply=PartialReply("one")))
        bench.run()
        assert bench.end("next").usage.cached_tokens == len("pppppppppon")

    @pytest.mark.parametrize(
        "params", [SamplingParams(grammar="g"), SamplingParams(json_schema="{}")]
    )
    def test_not_in_the_middle_of_a_grammar(self, params: SamplingParams) -> None:
        bench = Bench({"p": b""})
        request = GenerationRequest("r", prompt="p", partial_reply=PartialReply("{"), params=params)
        with pytest.raises(UsageError, match="can't be continued"):
            bench.engine.submit(request)

    def test_memory_that_can_not_be_cut_can_go_back_to_before_the_reply(self) -> None:
        bench = Bench(
            {"[uq]": b"abc"},
            template="{% for m in messages %}[{{ m.role[0] }}{{ m.content }}]{% endfor %}",
            can_cut=False,
        )
        request = GenerationRequest("r", (Message("user", "q"),))
        bench.ask(replace(request, partial_reply=PartialReply("a")))
        bench.run()
        assert {bytes(tokens) for tokens in bench.states.states} >= {b"[uq", b"[uq]"}
        assert bench.text() == "bc"


class Talk:
    """The real starter model, asked greedily; it has a penalty for what was just said."""

    def __init__(self, loaded: LoadedEngine) -> None:
        self.engine = loaded.engine
        self._names = map(str, itertools.count())

    def ask(self, partial: str | None, max_tokens: int) -> tuple[str, Finished]:
        name = next(self._names)
        request = GenerationRequest(
            name,
            (Message("user", "Tell me about the sea."),),
            params=SamplingParams(temperature=0.0, repeat_penalty=1.3, max_tokens=max_tokens),
            partial_reply=None if partial is None else PartialReply(partial),
            speculate=False,
        )
        self.engine.submit(request)
        events: list[Event] = []
        while self.engine.has_work:
            events += self.engine.step()  # type: ignore[arg-type]
        end = events[-1]
        assert isinstance(end, Finished)
        return "".join(event.text for event in events if isinstance(event, TextDelta)), end


@pytest.fixture(scope="module")
def talk(starter: Path) -> Talk:
    options = LoadOptions(context=512, threads=1, parallel=4)
    return Talk(load(ModelRef("starter", str(starter)), options, lambda line: None))


@pytest.mark.parametrize("cut", [1, 2, 5, 11, 24, 39])
def test_a_cut_reply_goes_on_to_the_text_of_the_uncut_one(talk: Talk, cut: int) -> None:
    """Each of its tokens is computed alone in both cases, so that even roundings are the same."""
    uncut, _ = talk.ask(None, 40)
    begun, first = talk.ask(None, cut)
    assert first.usage.completion_tokens == cut
    assert uncut.startswith(begun)
    rest, end = talk.ask(begun, 40 - cut)
    assert begun + rest == uncut
    assert end.usage.prompt_tokens == first.usage.prompt_tokens + cut
    assert end.usage.cached_tokens >= end.usage.prompt_tokens - 1
