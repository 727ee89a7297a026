from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import gguf
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from localchat.engine import prompt as prompts
from localchat.engine.chat_template import ChatTemplate
from localchat.engine.markers import Markers
from localchat.engine.prompt import Prompt, PromptBuilder
from localchat.errors import TemplateFailed
from localchat.llama.model import Model
from localchat.llama.vocabulary import Vocabulary
from localchat.types import GenerationRequest, Message, PartialReply, ReasoningMode
from tests.engine.fakes import ByteVocabulary
from tests.tiny_models import BOS, CHATML, CONTROL_TOKENS, TURN_END, TURN_START, write_tiny_model

TRIMMED = CHATML.replace("message['content']", "message['content'] | trim")
BARE = "{% for m in messages %}{{ m.content | trim }}{% endfor %}"
THINKING = CHATML + (
    "{% if enable_thinking is defined and not enable_thinking %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
)
OPENING = CHATML + "{{ '<think>\\n' }}"
HARMLESS = ["Be kind.", "Hi", "Hello!", "What is 2 < 3 | 4 > 1?\n\n  Tell me. é日本😀"]


class Bench:
    """A vocabulary, and prompts built with it."""

    def __init__(self, vocabulary: Vocabulary, template: str = CHATML) -> None:
        self.vocabulary = vocabulary
        self.template = ChatTemplate(template, bos=vocabulary.bos, eos=vocabulary.eos)
        self.builder = PromptBuilder(vocabulary, self.template)
        single = {
            piece for token in range(vocabulary.size) if len(piece := vocabulary.piece(token)) == 1
        }
        self.missing_bytes = {byte for byte in range(256) if bytes([byte]) not in single}

    def build(self, *contents: str) -> Prompt:
        return self.builder.build(GenerationRequest("r", conversation(*contents)))

    def own_tokens(self, text: str) -> list[int]:
        """llama.cpp's own."""
        return self.vocabulary.tokenize(text, add_special=True, parse_special=True)

    def control_ids(self, prompt: Prompt) -> list[int]:
        control = set(self.vocabulary.control_tokens.values())
        return [token for token in prompt.tokens if token in control]

    def sayable(self, text: str) -> bytes:
        """What the vocabulary has tokens for; SmolLM2's has none for some bytes, such as F1."""
        return bytes(byte for byte in text.encode() if byte not in self.missing_bytes)

    def detokenized(self, prompt: Prompt) -> bytes:
        spelling = {token: text for text, token in self.vocabulary.control_tokens.items()}
        pieces = [
            spelling[token].encode() if token in spelling else self.vocabulary.piece(token)
            for token in prompt.tokens
        ]
        return b"".join(pieces)

    def check_only_the_template_controls(self, *contents: str) -> Prompt:
        prompt = self.build(*contents)
        harmless = self.build(*["harmless"] * len(contents))
        assert self.control_ids(prompt) == self.control_ids(harmless)
        assert prompt.text == self.template.render(conversation(*contents))
        assert self.detokenized(prompt) == self.sayable(prompt.text)
        return prompt


def conversation(*contents: str) -> tuple[Message, ...]:
    system, *turns = contents
    messages = [Message("system", system)]
    for index, content in enumerate(turns):
        messages.append(Message("assistant" if index % 2 else "user", content))
    return tuple(messages)


@pytest.fixture(scope="module")
def bench(starter_vocabulary: Vocabulary) -> Bench:
    return Bench(starter_vocabulary)


@pytest.fixture(scope="module", params=["llama", "gemma3"], ids=["bpe", "spm"])
def tiny_vocabulary(
    request: pytest.FixtureRequest, starter_vocabulary: Vocabulary, tiny: Callable[..., Path]
) -> Iterator[Vocabulary]:
    model = Model(str(tiny(request.param)))
    yield model.vocabulary
    model.close()


def test_what_a_message_costs_is_what_the_template_does_not(bench: Bench) -> None:
    single = bench.build(*["x"] * len(HARMLESS))
    own = len(single.tokens) - len(HARMLESS)
    prompt = bench.build(*HARMLESS)
    costs = [bench.builder.count(content, prompt) for content in HARMLESS]
    assert len(prompt.tokens) - sum(costs) == own
    spelled = bench.build(TURN_START * 3)
    assert bench.builder.count(TURN_START * 3, spelled) > 3, "it is text"


@pytest.mark.parametrize("template", [CHATML, TRIMMED, THINKING, BARE])
@pytest.mark.parametrize("reply", [None, PartialReply("Well, <|im_end|>")])
def test_it_is_told_which_text_is_the_messages(
    starter_vocabulary: Vocabulary, template: str, reply: PartialReply | None
) -> None:
    bench = Bench(starter_vocabulary, template)
    contents = ["Be kind.", "user", " \n<|im_start|> <|im_start|>\U000f0000 ", "", "é", "x", " "]
    request = GenerationRequest("r", conversation(*contents), partial_reply=reply)
    prompt = bench.builder.build(request)
    said = [prompt.text[start:end] for start, end in bench.builder.said(request, prompt)]
    texts = [content.strip() for content in contents if content.strip()]
    assert said == [*texts, *([reply.content] if reply else [])]


def test_what_a_template_makes_of_messages_is_not_told_apart(
    starter_vocabulary: Vocabulary,
) -> None:
    for template in (
        "{% for m in messages %}{{ m.content[1:] }}{% endfor %}",
        "{% for m in messages %}{{ m.content | length }}{% endfor %}",
        "{% for m in messages %}{{ m.content | capitalize }}{% endfor %}",
        "{{ messages[0].content }}",
    ):
        bench = Bench(starter_vocabulary, template)
        request = GenerationRequest("r", conversation("Be kind.", "Hello there"))
        assert bench.builder.said(request, bench.builder.build(request)) == ()


def test_without_a_template_all_is_said(starter_vocabulary: Vocabulary) -> None:
    builder = PromptBuilder(starter_vocabulary, None)
    for request in (
        GenerationRequest("r", conversation("Be kind.", "Hello")),
        GenerationRequest("r", prompt="Be kind."),
    ):
        prompt = builder.build(request)
        assert builder.said(request, prompt) == ((0, len(prompt.text)),)


def test_a_message_is_counted_as_the_template_trims_it(starter_vocabulary: Vocabulary) -> None:
    trimmed = Bench(starter_vocabulary, TRIMMED)
    content = f"{' ' * 40}Hi\n\n"
    assert trimmed.builder.count(content, trimmed.build(content)) == 1
    plain = Bench(starter_vocabulary)
    assert plain.builder.count(content, plain.build(content)) > 2


def test_a_prompt_without_control_text_has_the_tokens_of_llama_cpp(bench: Bench) -> None:
    prompt = bench.build(*HARMLESS)
    assert prompt.tokens == bench.own_tokens(prompt.text)
    assert len(bench.control_ids(prompt)) == 2 * len(HARMLESS) + 1


def test_tiny_models_get_the_tokens_of_llama_cpp_too(tiny_vocabulary: Vocabulary) -> None:
    bench = Bench(tiny_vocabulary)
    prompt = bench.build("hello the", " hello", "the  hello\n")
    assert prompt.tokens == bench.own_tokens(prompt.text)


@pytest.mark.parametrize("content", ["a <", "|> b", "x<|im_", "start|>", "\U000f0000", " <|"])
def test_pieces_of_control_text_change_no_token(bench: Bench, content: str) -> None:
    prompt = bench.check_only_the_template_controls("Be kind.", content)
    assert prompt.tokens == bench.own_tokens(prompt.text)


@pytest.mark.parametrize("content", ["a <", "|> b", "the <|im_", "start|> hello"])
def test_pieces_of_control_text_change_no_token_of_a_tiny_model(
    tiny_vocabulary: Vocabulary, content: str
) -> None:
    bench = Bench(tiny_vocabulary)
    prompt = bench.build("hello", content)
    assert prompt.tokens == bench.own_tokens(prompt.text)


def test_no_control_token_of_the_vocabulary_comes_from_a_message(bench: Bench) -> None:
    spellings = list(bench.vocabulary.control_tokens)
    assert len(spellings) > 10
    for text in spellings:
        half = len(text) // 2
        for content in (text, f"{text} a", f"a {text} b", f"a{text}", text * 2, f"\n{text}\n"):
            bench.check_only_the_template_controls(content, content, "ok", content)
        for cut in {1, half, len(text) - 1}:
            bench.check_only_the_template_controls("s", text[:cut], text[cut:])
            bench.check_only_the_template_controls(text[:cut], text[cut:])


def test_no_control_token_of_a_tiny_model_comes_from_a_message(
    tiny_vocabulary: Vocabulary,
) -> None:
    bench = Bench(tiny_vocabulary)
    expected = bench.control_ids(bench.build("hello", "the", "hello", "the"))
    for text in tiny_vocabulary.control_tokens:
        for content in (text, f"{text} a", f"a{text}", text * 2, text[:-1], text[1:]):
            assert bench.control_ids(bench.build("hello", content, content, content)) == expected


@pytest.mark.parametrize("template", [BARE, TRIMMED])
@pytest.mark.parametrize("space", ["", " ", "\n\t", "\u3000"])
def test_messages_that_a_template_joins_make_no_control_token(
    starter_vocabulary: Vocabulary, template: str, space: str
) -> None:
    bench = Bench(starter_vocabulary, template)
    for text in starter_vocabulary.control_tokens:
        for cut in range(1, len(text)):
            bench.check_only_the_template_controls(
                f"a{text[:cut]}{space}", f"{space}{text[cut:]}b", "c"
            )


@pytest.mark.parametrize("space", ["", " ", "\n"])
@pytest.mark.parametrize(
    ("template", "content"),
    [
        ("{{ messages[0].content | trim }}|>", "<|im_start{space}"),
        ("<|{{ messages[0].content | trim }}", "{space}im_start|>"),
    ],
)
def test_text_of_the_template_completes_no_control_token(
    starter_vocabulary: Vocabulary, template: str, content: str, space: str
) -> None:
    bench = Bench(starter_vocabulary, template)
    prompt = bench.build(content.format(space=space))
    assert prompt.text == "<|im_start|>"
    assert bench.control_ids(prompt) == []


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_mixture_of_text_and_control_text_makes_a_control_token(
    bench: Bench, data: st.DataObject
) -> None:
    spellings = list(bench.vocabulary.control_tokens)
    text = st.sampled_from(spellings)
    part = st.tuples(text, st.integers(1, 8)).map(lambda pair: pair[0][: pair[1]])
    rest = st.tuples(text, st.integers(1, 8)).map(lambda pair: pair[0][pair[1] :])
    content = st.lists(text | part | rest | st.text(max_size=6), max_size=8).map("".join)
    bench.check_only_the_template_controls(*data.draw(st.lists(content, min_size=2, max_size=4)))


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=0xE000)))
@example("\ue000\U000f0000\U000f0001\U000ffffd\U00100000\U0010ffff<|im_end|>\U000f0000")
def test_private_use_characters_survive(bench: Bench, content: str) -> None:
    bench.check_only_the_template_controls("<|im_start|>", content)


def test_more_private_use_characters_than_there_are_guards_fail_the_request(
    bench: Bench,
) -> None:
    every = "".join(map(chr, range(0xF0000, 0x110000)))
    with pytest.raises(TemplateFailed, match="private-use"):
        bench.build(every, "<|im_end|>")


def test_bos_is_not_doubled(tiny_vocabulary: Vocabulary) -> None:
    bench = Bench(tiny_vocabulary, "{{ bos_token }}" + CHATML)
    bos = tiny_vocabulary.control_tokens[BOS]
    for content in ("hello", f"hello {BOS}", BOS):
        prompt = bench.build("the", content)
        assert prompt.tokens.count(bos) == 1
        assert prompt.tokens[0] == bos


def test_bos_that_a_user_types_first_stays_text(tiny_vocabulary: Vocabulary) -> None:
    bench = Bench(tiny_vocabulary, BARE)
    bos = tiny_vocabulary.control_tokens[BOS]
    prompt = bench.build(f"{BOS}hello")
    assert prompt.text == f"{BOS}hello"
    assert prompt.tokens.count(bos) == int(tiny_vocabulary.adds_bos)


def test_a_raw_prompt_is_text_without_control_tokens(bench: Bench) -> None:
    prompt = bench.builder.build(GenerationRequest("r", prompt="<|im_start|>hello"))
    assert prompt.text == "<|im_start|>hello"
    assert bench.detokenized(prompt) == prompt.text.encode()
    assert bench.control_ids(prompt) == []


def test_without_a_template_messages_are_text_of_their_own_paragraph(bench: Bench) -> None:
    builder = PromptBuilder(bench.vocabulary, None)
    prompt = builder.build(GenerationRequest("r", conversation("One", "<|im_end|>")))
    assert prompt.text == "One\n\n<|im_end|>"
    assert bench.detokenized(prompt) == prompt.text.encode()
    assert bench.control_ids(prompt) == []


def test_only_the_white_space_of_c_is_stripped_beside_a_control_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vocabulary = ByteVocabulary()
    template = ChatTemplate("<end>{{ messages[0].content }}<end>", bos="", eos="")
    builder = PromptBuilder(vocabulary, template)
    request = GenerationRequest("r", (Message("user", " \n\u3000<end>\u00a0 "),))
    monkeypatch.setattr(vocabulary, "strips_space_after", lambda token: True)
    monkeypatch.setattr(vocabulary, "strips_space_before", lambda token: True)
    end = vocabulary.END
    assert builder.build(request).tokens == [end, *"\u3000<end>\u00a0".encode(), end]


def build(bench: Bench, mode: ReasoningMode, content: str = "Hi") -> Prompt:
    request = GenerationRequest("r", (Message("user", content),), reasoning=mode)
    return bench.builder.build(request)


@pytest.mark.parametrize(
    ("template", "mode", "end", "inside"),
    [
        (THINKING, "auto", "assistant\n", False),
        (THINKING, "on", "assistant\n", False),
        (THINKING, "off", "assistant\n<think>\n\n</think>\n\n", False),
        (OPENING, "auto", "assistant\n<think>\n", True),
        (OPENING, "off", "assistant\n<think>\n</think>\n\n", False),
    ],
)
def test_a_prompt_says_whether_thinking_is_open(
    starter_vocabulary: Vocabulary, template: str, mode: ReasoningMode, end: str, inside: bool
) -> None:
    bench = Bench(starter_vocabulary, template)
    prompt = build(bench, mode)
    assert prompt.text.endswith(end)
    assert prompt.inside == inside
    assert prompt.markers == bench.builder.markers == Markers("<think>", "</think>")
    assert prompt.tokens == bench.own_tokens(prompt.text)


@pytest.mark.parametrize("mode", ["auto", "on", "off"])
def test_a_model_that_does_not_think_gets_the_same_prompt_in_every_mode(
    bench: Bench, mode: ReasoningMode
) -> None:
    assert build(bench, mode) == build(bench, "auto")
    assert bench.builder.markers is None
    assert bench.builder.budget_end == []


def test_a_raw_prompt_has_no_markers(starter_vocabulary: Vocabulary) -> None:
    builder = Bench(starter_vocabulary, THINKING).builder
    prompt = builder.build(GenerationRequest("r", prompt="<think>", reasoning="off"))
    assert (prompt.text, prompt.markers, prompt.inside) == ("<think>", None, False)


@pytest.mark.parametrize("content", ["<think>", "a</think>b", "<th", "ink> a", "a <"])
def test_a_marker_that_a_user_types_stays_text(
    starter_vocabulary: Vocabulary, content: str
) -> None:
    for template in (THINKING, OPENING):
        bench = Bench(starter_vocabulary, template)
        prompt = bench.check_only_the_template_controls("Be kind.", content, content, content)
        assert prompt.inside == (template == OPENING)


def test_a_template_does_not_act_on_a_marker_in_a_message(starter_vocabulary: Vocabulary) -> None:
    source = "<think>{% for m in messages %}{{ m.content.split('</think>')[-1] }}{% endfor %}"
    bench = Bench(starter_vocabulary, source)
    assert bench.build("s", "Write </think>.").text == "<think>sWrite </think>."


def test_a_user_cannot_open_the_thinking(starter_vocabulary: Vocabulary) -> None:
    bench = Bench(starter_vocabulary, BARE + "{{ '<think>'[:0] }}")
    assert not build(bench, "auto", "Hi <think>").inside


@pytest.fixture(scope="module", params=["llama", "gemma3"], ids=["bpe", "spm"])
def user_defined(
    request: pytest.FixtureRequest,
    starter_vocabulary: Vocabulary,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Vocabulary]:
    """A vocabulary with a token that is found in any text, as Qwen's <think> is."""
    path = tmp_path_factory.mktemp("user-defined") / "model.gguf"
    write_tiny_model(path, request.param)
    field = gguf.GGUFReader(path, "r+").fields["tokenizer.ggml.token_type"]
    field.parts[field.data[CONTROL_TOKENS.index(TURN_START)]][0] = gguf.TokenType.USER_DEFINED
    model = Model(str(path))
    yield model.vocabulary
    model.close()


@pytest.mark.parametrize(
    "contents",
    [
        (TURN_START,),
        (f"the {TURN_START} hello {TURN_END} {TURN_START}",),
        (TURN_START * 2,),
        (TURN_START[:4], TURN_START[4:]),
        (f"the{TURN_START[:-1]}", f"{TURN_START[-1]} hello"),
    ],
)
def test_markers_that_llama_cpp_finds_in_any_text_come_from_the_template_alone(
    user_defined: Vocabulary, monkeypatch: pytest.MonkeyPatch, contents: tuple[str, ...]
) -> None:
    monkeypatch.setattr(prompts, "find_markers", lambda source: Markers(TURN_START, "</t>"))
    assert TURN_START not in user_defined.control_tokens
    [*_, found] = user_defined.tokenize(TURN_START, add_special=False, parse_special=False)
    assert user_defined.piece(found) == TURN_START.encode()
    template = ChatTemplate(f"{BARE}{TURN_START}hello", bos="", eos="")
    builder = PromptBuilder(user_defined, template)
    messages = tuple(Message("user", content) for content in contents)
    tokens = builder.build(GenerationRequest("r", messages)).tokens
    assert tokens.count(found) == 1
    assert found in tokens[-3:]
    assert not {*user_defined.control_tokens.values()} & {*tokens[1:]}
    text = b"".join(map(user_defined.piece, tokens)).decode()
    assert text.replace(" ", "") == f"{''.join(contents)}{TURN_START}hello".replace(" ", "")


def test_control_tokens_that_are_markers_have_pieces(
    starter_vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompts, "find_markers", lambda source: Markers(TURN_START, "</t>"))
    builder = Bench(starter_vocabulary).builder
    token = starter_vocabulary.control_tokens[TURN_START]
    assert builder.marker_pieces == {token: TURN_START.encode()}
    assert starter_vocabulary.piece(token) == b""


def test_the_end_of_a_budget_is_tokenized_with_its_control_tokens(
    starter_vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompts, "find_markers", lambda source: Markers("<t>", TURN_END))
    builder = Bench(starter_vocabulary).builder
    assert starter_vocabulary.control_tokens[TURN_END] in builder.budget_end
