from __future__ import annotations

from localchat.types import Timings, Usage
from tests.engine.fakes import sequence


def test_counts_follow_from_the_tokens() -> None:
    seq = sequence([1, 2, 3])
    assert (seq.num_prompt_tokens, seq.num_completion_tokens) == (3, 0)
    assert seq.num_remaining_tokens == 3
    seq.tokens += [4, 5]
    seq.num_computed_tokens = 4
    seq.num_cached_tokens = 2
    assert seq.usage == Usage(prompt_tokens=3, cached_tokens=2, completion_tokens=2)


def test_it_decodes_when_one_sampled_token_is_left_to_compute() -> None:
    seq = sequence([1])
    assert not seq.is_decoding, "a prompt of one token is still a prompt"
    seq.tokens.append(2)
    assert not seq.is_decoding
    seq.num_computed_tokens = 1
    assert seq.is_decoding


def test_timings_split_its_life_into_queue_prefill_and_decode() -> None:
    seq = sequence([1])
    assert seq.timings == Timings(0, 0, 0)
    seq.arrived, seq.started, seq.first_token, seq.last_token = 1.0, 3.0, 6.0, 10.0
    assert seq.timings == Timings(queue=2, prefill=3, decode=4)


def test_two_sequences_with_the_same_tokens_are_not_the_same() -> None:
    assert sequence([1]) != sequence([1])
