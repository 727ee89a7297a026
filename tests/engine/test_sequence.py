from __future__ import annotations

from tests.engine.fakes import sequence


def test_counts_follow_from_the_tokens() -> None:
    seq = sequence([1, 2, 3])
    assert (seq.num_prompt_tokens, seq.num_completion_tokens) == (3, 0)
    assert (seq.num_remaining_tokens, seq.num_reusable_tokens) == (3, 2)
    seq.tokens += [4, 5]
    seq.num_computed_tokens = 4
    assert (seq.num_prompt_tokens, seq.num_completion_tokens) == (3, 2)
    assert (seq.num_remaining_tokens, seq.num_reusable_tokens) == (1, 4)


def test_it_decodes_when_one_sampled_token_is_left_to_compute() -> None:
    seq = sequence([1])
    assert not seq.is_decoding, "a prompt of one token is still a prompt"
    seq.tokens.append(2)
    assert not seq.is_decoding
    seq.num_computed_tokens = 1
    assert seq.is_decoding


def test_a_text_to_score_completes_nothing_and_reuses_its_prompt_but_the_last_token() -> None:
    seq = sequence([1, 2, 3, 8], targets=(8, 9))
    assert (seq.num_prompt_tokens, seq.num_completion_tokens) == (3, 0)
    assert seq.num_reusable_tokens == 2
    seq.num_computed_tokens = 3
    assert not seq.is_decoding


def test_priority_is_that_of_the_request() -> None:
    assert sequence([1]).is_interactive
    assert not sequence([1], priority="batch").is_interactive


def test_two_sequences_with_the_same_tokens_are_not_the_same() -> None:
    assert sequence([1]) != sequence([1])
