from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localchat.llama.model import Model
from localchat.llama.vocabulary import Vocabulary
from tests.tiny_models import CONTROL_TOKENS

# SmolLM2's vocabulary has no tokens for some control characters and for planes 4 to 11.
SAYABLE = st.text(st.characters(codec="utf-8", min_codepoint=0x20, max_codepoint=0x3FFFF))


@pytest.fixture(scope="module")
def vocabulary(model: Model) -> Vocabulary:
    return model.vocabulary


def detokenize(vocabulary: Vocabulary, tokens: list[int]) -> bytes:
    return b"".join(map(vocabulary.piece, tokens))


@settings(max_examples=200, deadline=None)
@given(SAYABLE)
def test_text_survives_its_way_through_tokens(vocabulary: Vocabulary, text: str) -> None:
    tokens = vocabulary.tokenize(text, add_special=False, parse_special=False)
    assert detokenize(vocabulary, tokens) == text.encode()


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_all_of_unicode_survives_where_the_vocabulary_has_every_byte(
    tiny: Callable[..., Path], text: str
) -> None:
    model = Model(str(tiny("llama")))
    tokens = model.vocabulary.tokenize(text, add_special=False, parse_special=False)
    assert detokenize(model.vocabulary, tokens) == text.encode()
    model.close()


def test_a_text_of_many_tokens_fits(vocabulary: Vocabulary) -> None:
    text = "\x7f\n" * 5000
    tokens = vocabulary.tokenize(text, add_special=False, parse_special=False)
    assert detokenize(vocabulary, tokens) == text.encode()


def test_nothing_is_no_tokens(vocabulary: Vocabulary) -> None:
    assert vocabulary.tokenize("", add_special=False, parse_special=True) == []
    assert vocabulary.tokenize("", add_special=True, parse_special=False) == []


def test_a_lone_surrogate_becomes_a_question_mark(vocabulary: Vocabulary) -> None:
    tokens = vocabulary.tokenize("a\ud800", add_special=False, parse_special=False)
    assert detokenize(vocabulary, tokens) == b"a?"


def test_control_text_is_a_control_token_only_when_asked_for(vocabulary: Vocabulary) -> None:
    assert len(vocabulary.control_tokens) > 10
    for text, token in vocabulary.control_tokens.items():
        parsed = vocabulary.tokenize(text, add_special=False, parse_special=True)
        plain = vocabulary.tokenize(text, add_special=False, parse_special=False)
        assert parsed == [token]
        assert token not in plain
        assert detokenize(vocabulary, plain) == text.encode()


def test_a_control_token_has_a_spelling_but_no_bytes(vocabulary: Vocabulary) -> None:
    token = vocabulary.control_tokens["<|im_start|>"]
    assert vocabulary.text(token) == "<|im_start|>"
    assert vocabulary.piece(token) == b""


def test_the_special_tokens_of_the_starter_model(vocabulary: Vocabulary) -> None:
    control = vocabulary.control_tokens
    assert (vocabulary.bos, vocabulary.eos) == ("<|im_start|>", "<|im_end|>")
    assert vocabulary.is_end(control["<|im_end|>"])
    assert vocabulary.is_end(control["<|endoftext|>"])
    assert not vocabulary.is_end(control["<|im_start|>"])
    assert not vocabulary.is_end(
        vocabulary.tokenize("a", add_special=False, parse_special=False)[0]
    )
    assert not vocabulary.adds_bos
    assert not any(map(vocabulary.strips_space_after, control.values()))
    assert not any(map(vocabulary.strips_space_before, control.values()))


@pytest.mark.parametrize(("architecture", "adds_bos"), [("llama", False), ("gemma3", True)])
def test_bos_is_added_where_the_file_says_so(
    tiny: Callable[..., Path], architecture: str, adds_bos: bool
) -> None:
    model = Model(str(tiny(architecture)))
    vocabulary = model.vocabulary
    assert set(CONTROL_TOKENS) <= set(vocabulary.control_tokens)
    assert vocabulary.adds_bos == adds_bos
    special = vocabulary.tokenize("", add_special=True, parse_special=False)
    assert special == ([vocabulary.control_tokens[vocabulary.bos]] if adds_bos else [])
    model.close()
