from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from localchat.engine.chat_template import ChatTemplate
from localchat.engine.intake import Intake
from localchat.engine.prompt import PromptBuilder
from localchat.errors import ContextOverflow, InvalidGrammar
from localchat.events import Rendered
from localchat.types import (
    GenerationRequest,
    Message,
    OverflowPolicy,
    PartialReply,
    Role,
    SamplingParams,
)
from tests.engine.fakes import ByteVocabulary

TURNS = "{% for m in messages %}[{{ m.content }}]{% endfor %}"
TALK = (Message("system", "be brief"), Message("user", "hello"), Message("assistant", "hi"))


class Grammars:
    """Makes a grammar of a schema, and counts."""

    def __init__(self) -> None:
        self.made: list[SamplingParams] = []

    def __call__(self, params: SamplingParams) -> str | None:
        self.made.append(params)
        if params.json_schema == "bad":
            raise InvalidGrammar("It is bad.")
        return params.json_schema and f"grammar of {params.json_schema}"


def intake(
    *, grammars: Grammars | None = None, has_checkpoints: bool = False, can_grow: bool = True
) -> Intake:
    vocabulary = ByteVocabulary()
    return Intake(
        PromptBuilder(vocabulary, ChatTemplate(TURNS, bos="", eos="")),
        lambda text: list(text.encode()),
        lambda params: tuple((1, bias) for _, bias in params.logit_bias),
        grammars or Grammars(),
        context=64,
        can_grow=can_grow,
        has_checkpoints=has_checkpoints,
    )


def ask(*messages: Message, reuse: bool = True, **params: Any) -> GenerationRequest:
    return GenerationRequest(
        "r",
        messages,
        params=SamplingParams(**params),
        reuse_cache=reuse,
    )


def test_completions_have_seeds_and_tokens_of_their_own() -> None:
    group = intake().accept(ask(*TALK, n=3, seed=2**32 - 2))
    assert [seq.seed for seq in group.sequences] == [2**32 - 2, 2**32 - 1, 0]
    assert [seq.choice for seq in group.sequences] == [0, 1, 2]
    assert len({id(seq.tokens) for seq in group.sequences}) == 3


def test_a_drawn_seed_is_another_each_time() -> None:
    made = intake()
    assert len({made.accept(ask(*TALK)).sequences[0].seed for _ in range(9)}) == 9


def test_texts_to_bias_are_resolved() -> None:
    (seq,) = intake().accept(ask(*TALK, logit_bias=(("no", -1.0),))).sequences
    assert seq.request.params.logit_bias == ((1, -1.0),)


def test_a_grammar_is_made_once_for_equal_requests() -> None:
    grammars = Grammars()
    made = intake(grammars=grammars)
    for seed in range(3):
        group = made.accept(ask(*TALK, json_schema="S", seed=seed))
        assert group.grammar == "grammar of S"
    assert len(grammars.made) == 1
    with pytest.raises(InvalidGrammar):
        made.accept(ask(*TALK, json_schema="bad"))


def test_checkpoints_are_at_the_ends_of_messages() -> None:
    prompt = "[be brief][hello][hi]"
    (seq,) = intake(has_checkpoints=True).accept(ask(*TALK)).sequences
    assert bytes(seq.tokens).decode() == prompt
    assert seq.checkpoints == (len("[be brief]"), len("[be brief][hello]"), len(prompt) - 1)


class TestRendering:
    """The context is 64 tokens, of which a reply gets 16 and a summary 8; a token is a byte."""

    def rendered(self, *contents: str, overflow: OverflowPolicy) -> Rendered:
        roles: tuple[Role, ...] = ("system", *(("user", "assistant") * len(contents)))
        messages = tuple(map(Message, roles, contents))
        return intake().render(replace(ask(*messages), overflow=overflow))

    def expected(
        self, *kept: str, costs: tuple[int, ...], dropped: tuple[int, ...] = ()
    ) -> Rendered:
        prompt = "".join(f"[{text}]" for text in kept)
        places = tuple(match.span(1) for match in re.finditer(r"\[(\w+)\]", prompt))
        return Rendered("r", prompt, len(prompt), costs, dropped, places)

    @pytest.mark.parametrize("overflow", ["refuse", "drop", "summarise"])
    def test_each_message_costs_its_text(self, overflow: OverflowPolicy) -> None:
        said = "sys", "hello", "hi", "again"
        assert self.rendered(*said, overflow=overflow) == self.expected(*said, costs=(3, 5, 2, 5))

    def test_what_would_be_left_out_is_told_and_not_in_the_prompt(self) -> None:
        said = "sys", "a" * 9, "b" * 9, "c" * 9, "d" * 9, "e" * 9
        costs = (3, 9, 9, 9, 9, 9)
        assert self.rendered(*said, overflow="refuse") == self.expected(*said, costs=costs)
        rest = self.expected(said[0], *said[3:], costs=costs, dropped=(1, 2))
        assert self.rendered(*said, overflow="drop") == rest
        assert self.rendered(*said, overflow="summarise") == rest
        longer = *said[:5], "e" * 13
        assert self.rendered(*longer, overflow="drop").dropped == (1, 2)
        assert self.rendered(*longer, overflow="summarise").dropped == (1, 2, 3, 4)

    @pytest.mark.parametrize("overflow", ["refuse", "drop", "summarise"])
    def test_what_nothing_can_be_left_out_of_is_shown_whole(self, overflow: OverflowPolicy) -> None:
        found = self.rendered("sys", "hello", "hi", "x" * 99, overflow=overflow)
        assert (found.prompt_tokens, found.dropped) == (117, ())

    def test_a_reply_so_far_is_the_last_message(self) -> None:
        request = replace(ask(Message("user", "hello")), partial_reply=PartialReply("hi th"))
        assert intake().render(request) == Rendered(
            "r", "[hello]hi th", 12, (5, 5), said=((1, 6), (7, 12))
        )
        request = replace(request, partial_reply=PartialReply(""))
        assert intake().render(request).message_tokens == (5, 0)

    def test_a_raw_prompt_has_no_messages(self) -> None:
        found = intake().render(GenerationRequest("r", prompt="ab"))
        assert found == Rendered("r", "ab", 2, said=((0, 2),))


def test_nothing_is_kept_of_a_request_that_leaves_nothing() -> None:
    (seq,) = intake(has_checkpoints=True).accept(ask(*TALK, reuse=False)).sequences
    assert seq.checkpoints == ()
    assert intake().accept(ask(*TALK)).sequences[0].checkpoints == ()


def test_a_text_to_score_ends_with_its_targets_but_the_last() -> None:
    request = GenerationRequest("r", prompt="ab", continuations=("xyz", "", "q", "uvw"))
    first, last = intake().accept(request).sequences
    assert (first.tokens, first.targets) == ([*b"abxy"], (*b"xyz",))
    assert (last.tokens, last.targets, last.choice) == ([*b"abuv"], (*b"vw",), 3)
    assert first.alternatives == ((2, *b"q"), (3, *b"u"))
    assert not last.alternatives


@pytest.mark.parametrize(
    ("can_grow", "hint"), [(True, "LOCALCHAT_CONTEXT=200"), (False, "trained")]
)
def test_a_prompt_that_is_too_long_says_what_would_help(can_grow: bool, hint: str) -> None:
    with pytest.raises(ContextOverflow) as raised:
        intake(can_grow=can_grow).accept(GenerationRequest("r", prompt="x" * 100))
    assert hint in (raised.value.hint or "")
