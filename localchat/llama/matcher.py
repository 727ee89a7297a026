"""Grammars: which tokens may come next. The only user of llguidance.

llama.cpp has a grammar sampler too, which ends the process over a token it did not expect, and
needs time and memory that grow exponentially with the text under some harmless-looking grammars.
llguidance never raises for what a grammar or a token does, bounds its work for each token, and
allows left recursion.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from localchat.errors import EngineFailed, InvalidGrammar
from localchat.llama.vocabulary import Vocabulary

if TYPE_CHECKING:
    from llguidance import LLTokenizer

_SPACE = r"\n? {0,20}"
"""White space between JSON's tokens: enough to indent, too little to go on for ever."""
_NO_TEXT = b"\xff"
"""In front of control tokens: a byte that UTF-8 does not have keeps them out of every text."""
_BROKEN = ("InternalError", "ParserTooComplex", "LexerTooComplex")

_tokenizers: weakref.WeakKeyDictionary[Vocabulary, LLTokenizer] = weakref.WeakKeyDictionary()


def from_json_schema(schema: str) -> str:
    """The grammar of the JSON texts that validate against a schema. Raises InvalidGrammar."""
    from llguidance import LLMatcher  # 0.05 s, and only some requests need it

    options: Any = {
        "whitespace_flexible": True,
        "whitespace_pattern": _SPACE,
        "lenient": False,
        "coerce_one_of": False,
    }
    try:
        return _valid(LLMatcher.grammar_from_json_schema(schema, overrides=options))
    except ValueError as error:  # half a surrogate pair is JSON to Python alone
        raise InvalidGrammar(_sentence(str(error))) from error


def from_lark(lark: str) -> str:
    """The grammar that llguidance's dialect of Lark describes. Raises InvalidGrammar."""
    from llguidance import LLMatcher

    return _valid(LLMatcher.grammar_from_lark(lark))


class Matcher:
    """One completion on its way through a grammar."""

    def __init__(self, grammar: str, vocabulary: Vocabulary) -> None:
        from llguidance import LLMatcher

        self._vocabulary = vocabulary
        self._matcher = LLMatcher(_tokenizer(vocabulary), grammar, log_level=0)
        self._check()

    @property
    def is_complete(self) -> bool:
        """Whether the text so far matches the whole grammar, so that it may end here."""
        return self._matcher.is_accepting()

    def accept(self, token: int) -> bool:
        """Goes on by one token; False, and no step, if it does not fit.

        Raises EngineFailed if the grammar has become too complex to tell.
        """
        if self._vocabulary.is_end(token):
            return self.is_complete
        if self._matcher.try_consume_tokens([token]) == 1:
            return True
        self._check()
        return False

    def allowed(self) -> bytes:
        """One byte for each token of the vocabulary: not 0 if the token fits.

        Raises EngineFailed if none does, or if the grammar has become too complex to tell.
        """
        mask = self._matcher.compute_logit_bias()
        self._check()
        if not any(mask):
            raise EngineFailed("No token of this model can continue the text as its grammar asks.")
        return mask

    def _check(self) -> None:
        if self._matcher.is_error():
            reason = self._matcher.get_error().partition("\n")[0]
            raise EngineFailed(f"The grammar can't be followed any further: {reason}.")
        if not self.is_complete and self._matcher.stop_reason() in _BROKEN:
            raise EngineFailed("The grammar leads to a point where no text can follow.")


def _valid(grammar: str) -> str:
    from llguidance import LLMatcher

    if fault := LLMatcher.validate_grammar(grammar):
        raise InvalidGrammar(_sentence(fault))
    return grammar


def _sentence(fault: str) -> str:
    """The first and the last line that say something: what is wrong comes last in some faults."""
    lines = [line.strip() for line in fault.splitlines() if line.strip(" ^|")]
    said = [line[:200] for line in (lines[0], *lines[1:][-1:])]
    return f"The schema or grammar can't be used: {' '.join(said).rstrip('.')}."


def _tokenizer(vocabulary: Vocabulary) -> LLTokenizer:
    """The vocabulary as llguidance reads it: 0.2 s for 50,000 tokens, once for each model."""
    found = _tokenizers.get(vocabulary)
    if found is None:
        found = _tokenizers[vocabulary] = _new_tokenizer(vocabulary)
    return found


def _new_tokenizer(vocabulary: Vocabulary) -> LLTokenizer:
    from llguidance import LLTokenizer, TokenizerWrapper

    ends = [token for token in range(vocabulary.size) if vocabulary.is_end(token)]
    if not ends:
        raise EngineFailed(
            "The model has no token that ends a text, so its answer can't be held to a grammar."
        )
    tokens = [
        vocabulary.piece(token) or _NO_TEXT + vocabulary.text(token).encode()
        for token in range(vocabulary.size)
    ]
    return LLTokenizer(TokenizerWrapper(_Pieces(vocabulary, tokens, ends[0])), eos_token=ends)


class _Pieces:
    """What llguidance's wrapper asks of a tokenizer.

    Refers to the vocabulary weakly: the cache, which holds this, must not keep that alive.
    """

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary, tokens: list[bytes], end: int) -> None:
        self._vocabulary = weakref.proxy(vocabulary)
        self.tokens = tokens
        self.eos_token_id = end
        self.special_token_ids = [
            token for token, piece in enumerate(tokens) if piece.startswith(_NO_TEXT)
        ]

    def __call__(self, text: bytes) -> list[int]:
        found: list[int] = self._vocabulary.tokenize(
            text.decode("utf-8", "replace"), add_special=False, parse_special=False
        )
        return found
