"""Structured output: what a request's schema or grammar demands, as a grammar for the sampler."""

from __future__ import annotations

from localchat.engine.grammar import gbnf, json_schema
from localchat.errors import InvalidGrammar
from localchat.llama import matcher
from localchat.types import SamplingParams


def constraint(params: SamplingParams) -> str | None:
    """The grammar that `Sampler` is to follow; None if the request asks for no structure.

    Takes less than 2 s whatever is asked: size, depth and the compiler's own work are bounded.
    Raises InvalidGrammar, which says what can't be kept and where it stands.
    """
    if params.json_schema is None and params.grammar is None:
        return None
    if params.json_schema is not None and params.grammar is not None:
        raise InvalidGrammar("An answer follows a JSON schema or a grammar, not both.")
    if params.stop:
        raise InvalidGrammar(
            "A stop text could cut an answer that has to match a schema or a grammar.",
            "Leave out --stop",
        )
    if params.json_schema is not None:
        return matcher.from_json_schema(json_schema.strict(params.json_schema))
    assert params.grammar is not None
    return matcher.from_lark(gbnf.to_lark(params.grammar))
