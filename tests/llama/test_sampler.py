from __future__ import annotations

import json
import math
from typing import Any

import jsonschema
import pytest

from localchat.engine.grammar import constraint
from localchat.errors import EngineFailed, UsageError
from localchat.llama import library
from localchat.llama.context import Context
from localchat.llama.model import Model
from localchat.llama.sampler import Sampler, token_biases
from localchat.paths import Paths
from localchat.presets.folder import find
from localchat.types import SamplingParams
from tests.llama.conftest import NewContext
from tests.llama.steps import CHUNK, decode


def draw(
    model: Model, new_context: NewContext, params: SamplingParams, seed: int, count: int = 12
) -> list[int]:
    context = new_context(n_ctx=256)
    prompt = model.vocabulary.tokenize("Once", add_special=False, parse_special=False)
    decode(context, prompt)
    sampler = Sampler(params, model.vocabulary, seed)
    tokens = [sampler.sample(context, len(prompt) - 1) for _ in range(count)]
    sampler.close()
    sampler.close()
    return tokens


def test_the_same_seed_draws_the_same_tokens(model: Model, new_context: NewContext) -> None:
    params = SamplingParams(temperature=1.5)
    first = draw(model, new_context, params, seed=1)
    assert first == draw(model, new_context, params, seed=1)
    assert first != draw(model, new_context, params, seed=2)


def test_only_the_likeliest_token_is_left_by_top_k_of_one(
    model: Model, new_context: NewContext
) -> None:
    greedy = draw(model, new_context, SamplingParams(temperature=0.0), seed=1)
    assert draw(model, new_context, SamplingParams(top_k=1), seed=2) == greedy
    assert draw(model, new_context, SamplingParams(top_k=0, top_p=1e-6), seed=2) == greedy
    assert draw(model, new_context, SamplingParams(top_k=0, min_p=1.0), seed=2) == greedy


def test_a_repeat_penalty_moves_greedy_decoding_to_another_token(
    model: Model, new_context: NewContext
) -> None:
    params = SamplingParams(temperature=0.0, repeat_penalty=5.0)
    assert len(set(draw(model, new_context, params, seed=1))) > 1


def test_a_step_llama_cpp_cannot_make_is_an_error(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library.C, "llama_sampler_init_greedy", lambda: None)
    with pytest.raises(EngineFailed):
        Sampler(SamplingParams(temperature=0.0), model.vocabulary, 0)


def complete(
    model: Model, context: Context, prompt: str, params: SamplingParams, grammar: str | None
) -> tuple[str, bool]:
    """The completion of a prompt, and whether the model has ended it itself."""
    vocabulary = model.vocabulary
    tokens = vocabulary.tokenize(prompt, add_special=False, parse_special=True)
    context.memory.clear(0)
    decode(context, tokens)
    sampler = Sampler(params, vocabulary, params.seed or 0, grammar)
    row, text = (len(tokens) - 1) % CHUNK, b""
    for position in range(len(tokens), len(tokens) + (params.max_tokens or 1)):
        token = sampler.sample(context, row)
        if vocabulary.is_end(token):
            sampler.close()
            return text.decode(), True
        text += vocabulary.piece(token)
        decode(context, [token], start=position)
        row = 0
    sampler.close()
    return text.decode("utf-8", "replace"), False


SCHEMAS: list[dict[str, Any]] = [
    {"type": "boolean"},
    {"type": "integer", "minimum": 10, "maximum": 99},
    {"enum": ["red", "green", "blue"]},
    {"type": "string", "maxLength": 12},
    {"type": "string", "format": "date"},
    {"type": "array", "items": {"type": "integer", "maximum": 9}, "minItems": 2, "maxItems": 3},
    {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    },
    {"anyOf": [{"type": "null"}, {"type": "number", "minimum": 0, "exclusiveMaximum": 1}]},
    {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
    {
        "$defs": {
            "p": {"type": "object", "properties": {"x": {"enum": [1, 2]}}, "required": ["x"]}
        },
        "type": "array",
        "items": {"$ref": "#/$defs/p"},
        "maxItems": 1,
    },
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:40])
def test_what_the_model_ends_itself_validates(
    model: Model, new_context: NewContext, schema: dict[str, Any]
) -> None:
    grammar = constraint(SamplingParams(json_schema=json.dumps(schema)))
    context = new_context(n_ctx=256)
    prompt = "<|im_start|>user\nSomething in JSON.<|im_end|>\n<|im_start|>assistant\n"
    ended = 0
    for seed in range(3):
        params = SamplingParams(temperature=1.2, seed=seed, max_tokens=40)
        text, is_end = complete(model, context, prompt, params, grammar)
        if is_end:
            jsonschema.validate(json.loads(text), schema)
            ended += 1
    assert ended > 0


def test_a_grammar_that_allows_one_text_gives_it_and_then_the_end(
    model: Model, new_context: NewContext
) -> None:
    grammar = constraint(SamplingParams(grammar='root ::= "Tèst <|im_end|> 😀"'))
    for params in (SamplingParams(temperature=0.0, max_tokens=30), SamplingParams(max_tokens=30)):
        assert complete(model, new_context(), "Once", params, grammar) == (
            "Tèst <|im_end|> 😀",
            True,
        )
    empty = constraint(SamplingParams(grammar='root ::= ""'))
    assert complete(model, new_context(), "Once", params, empty) == ("", True)


def test_rows_sampled_in_a_row_follow_the_grammar_one_after_the_other(
    model: Model, new_context: NewContext
) -> None:
    context, vocabulary = new_context(), model.vocabulary
    prompt = vocabulary.tokenize("Once upon", add_special=False, parse_special=False)
    decode(context, prompt)
    sampler, row = Sampler(SamplingParams(), vocabulary, 1), len(prompt) - 1
    sampler.sample(context, row)
    sampler.constrain(constraint(SamplingParams(grammar='root ::= "a" "b" "c"')) or "")
    text = b""
    while not vocabulary.is_end(token := sampler.sample(context, row)):
        text += vocabulary.piece(token)
    assert text == b"abc"
    assert vocabulary.is_end(sampler.sample(context, row))
    sampler.close()


def test_the_grammar_is_asked_about_the_token_the_steps_have_drawn(
    model: Model, new_context: NewContext
) -> None:
    """Where it allows all tokens but the end, it changes nothing."""
    anything = constraint(SamplingParams(grammar="root ::= .*"))
    context = new_context(n_ctx=256)
    for params in (
        SamplingParams(temperature=0.0, max_tokens=12, repeat_penalty=1.3),
        SamplingParams(temperature=1.0, seed=3, max_tokens=12, frequency_penalty=0.5),
    ):
        free = complete(model, context, "Once upon a", params, None)
        assert complete(model, context, "Once upon a", params, anything) == free


def test_a_grammar_no_token_of_which_is_left_fails_by_name(
    model: Model, new_context: NewContext
) -> None:
    grammar = constraint(SamplingParams(grammar='root ::= "a"'))
    token = model.vocabulary.tokenize("a", add_special=False, parse_special=False)
    params = SamplingParams(logit_bias=((token[0], -math.inf),), temperature=0.0)
    context = new_context()
    decode(context, token)
    sampler = Sampler(params, model.vocabulary, 0, grammar)
    with pytest.raises(EngineFailed):
        sampler.sample(context, 0)
    sampler.close()


def test_a_bias_forces_and_forbids_tokens(model: Model, new_context: NewContext) -> None:
    greedy = draw(model, new_context, SamplingParams(temperature=0.0), seed=1, count=1)[0]
    for temperature in (0.0, 1.0):
        forced = SamplingParams(temperature=temperature, logit_bias=((1234, 1000.0),))
        assert set(draw(model, new_context, forced, seed=1)) == {1234}
        forbidden = SamplingParams(temperature=temperature, logit_bias=((greedy, -math.inf),))
        assert greedy not in draw(model, new_context, forbidden, seed=1)


@pytest.mark.parametrize("penalty", ["frequency_penalty", "presence_penalty"])
def test_a_penalty_moves_greedy_decoding_to_another_token(
    penalty: str, model: Model, new_context: NewContext
) -> None:
    params = SamplingParams(temperature=0.0, **{penalty: 20.0})  # type: ignore[arg-type]
    assert len(set(draw(model, new_context, params, seed=1))) > 1


@pytest.mark.parametrize("preset", ["greedy", "precise", "balanced", "creative"])
def test_every_preset_samples(
    preset: str, places: Paths, model: Model, new_context: NewContext
) -> None:
    params = SamplingParams(**find(preset, places).preset().sampling)
    tokens = draw(model, new_context, params, seed=1)
    assert tokens == draw(model, new_context, params, seed=1)
    assert all(0 <= token < model.vocabulary.size for token in tokens)


def test_texts_become_the_ids_of_their_tokens(model: Model) -> None:
    size = model.vocabulary.size

    def tokenize(text: str) -> list[int]:
        return model.vocabulary.tokenize(text, add_special=False, parse_special=False)

    (word,) = tokenize(" the")
    found = token_biases(((" the", 1.0), (word, 0.5), (7, -math.inf)), size, tokenize)
    assert found == ((word, 1.5), (7, -math.inf))
    for entry, bias in (("", 1.0), (size, 1.0), (-1, 1.0), (7, math.inf), (7, math.nan)):
        with pytest.raises(UsageError):
            token_biases(((entry, bias),), size, tokenize)
