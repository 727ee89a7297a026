"""How much faster is a reply that repeats its prompt? See README.md beside this file."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from common import Report, Setup, alternate, engine, parser, prepare
from inside import InsideClient
from streams import Reply, ask

from localchat.types import GenerationRequest, SamplingParams

_TEXTS = Path(__file__).with_name("typos.txt")
_TOKENS = 440  # at most; a text has some 400
_GOAL = 1.3

# The starter model does not obey an instruction of this kind in a chat; like this it goes on.
_PROMPT = """Text with typos:

{text}

The same text with the typos fixed:

{beginning}"""
_BEGINNING = 8  # words


def main() -> None:
    arguments = parser("tokens/s of a copied text, guessing and not", rounds=5).parse_args()
    texts = [text.strip() for text in _TEXTS.read_text(encoding="utf-8").split("---")]
    with prepare(arguments) as setup, engine(setup) as client:
        report = Report("copy_edit", setup)
        replies: dict[bool, list[Reply]] = {}

        def measure(*, speculate: bool) -> Callable[[], float]:
            def speed() -> float:
                found = [ask(client, _request(text, speculate=speculate)) for text in texts]
                replies[speculate] = found
                seconds = sum(reply.ended - reply.first for reply in found)
                return sum(reply.num_tokens - 1 for reply in found) / seconds

            return speed

        measures = {"guessing": measure(speculate=True), "plain": measure(speculate=False)}
        values = alternate(setup.rounds, measures, "tokens/s")
        medians = [report.add_rounds(name, values[name], "tokens/s").median for name in values]
        for number, (text, reply, plain) in enumerate(
            zip(texts, replies[True], replies[False], strict=True), 1
        ):
            ratio = reply.decode_speed / plain.decode_speed
            report.add_value(f"text {number}, ratio in the last round", ratio, "")
            report.add_value(f"text {number}, part repeated", _repeated(text, reply.text), "")
            report.add_value(f"text {number}, same either way", reply.text == plain.text, "")
        report.add_value("tokens a step", _tokens_per_step(setup, texts), "")
        ratio = medians[0] / medians[1]
        report.add_goal("ratio", ratio, f"at least {_GOAL}", met=ratio >= _GOAL)
        report.save()


def _request(text: str, *, speculate: bool, tokens: int = _TOKENS) -> GenerationRequest:
    beginning = " ".join(text.split()[:_BEGINNING])
    return GenerationRequest(
        "copy",
        prompt=_PROMPT.format(text=text, beginning=beginning),
        params=SamplingParams(temperature=0.0, max_tokens=tokens, stop=("\n",)),
        reuse_cache=False,
        speculate=speculate,
    )


def _repeated(text: str, reply: str) -> float:
    """The part of the reply's words that stand in the text, in the same order."""
    words = reply.split()
    matcher = difflib.SequenceMatcher(None, text.split(), words, autojunk=False)
    return sum(block.size for block in matcher.get_matching_blocks()) / max(1, len(words))


def _tokens_per_step(setup: Setup, texts: list[str]) -> float:
    """Tokens that a decode step yields when guessing, of all texts together."""
    client = InsideClient(setup)
    tokens = steps = 0
    for text in texts:
        _, first = _count_steps(client, _request(text, speculate=True, tokens=1))
        reply, all_steps = _count_steps(client, _request(text, speculate=True))
        tokens += reply.num_tokens - 1
        steps += all_steps - first
    return tokens / max(1, steps)


def _count_steps(client: InsideClient, request: GenerationRequest) -> tuple[Reply, int]:
    before = client.num_steps
    return ask(client, request), client.num_steps - before


if __name__ == "__main__":
    main()
