"""How much faster is a reply that repeats its prompt? See README.md beside this file."""

from __future__ import annotations

import difflib
import statistics
import sys
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
_MOST = 0.5  # the part of a text that a reply must repeat to count


def main() -> None:
    arguments = parser("tokens/s of a copied text, guessing and not", rounds=5).parse_args()
    texts = [text.strip() for text in _TEXTS.read_text(encoding="utf-8").split("---")]
    with prepare(arguments) as setup, engine(setup) as client:
        report = Report("copy_edit", setup)
        replies: list[dict[bool, Reply]] = [{} for _ in texts]

        def measure(number: int, *, speculate: bool) -> Callable[[], float]:
            def speed() -> float:
                reply = ask(client, _request(texts[number], speculate=speculate))
                replies[number][speculate] = reply
                return reply.decode_speed

            return speed

        measures = {
            _label(number, speculate): measure(number, speculate=speculate)
            for number in range(len(texts))
            for speculate in (True, False)
        }
        values = alternate(setup.rounds, measures, "tokens/s")
        medians = {
            name: report.add_rounds(name, values[name], "tokens/s").median for name in values
        }
        copied: dict[str, float] = {}
        for number, text in enumerate(texts):
            guessed, plain = replies[number][True].text, replies[number][False].text
            ratio = medians[_label(number, True)] / medians[_label(number, False)]
            repeated = min(_repeated(text, guessed), _repeated(text, plain))
            report.add_value(f"text {number + 1}, ratio", ratio, "")
            report.add_value(f"text {number + 1}, part repeated", repeated, "")
            report.add_value(f"text {number + 1}, same either way", guessed == plain, "")
            if repeated > _MOST:
                copied[text] = ratio
        num_other = len(texts) - len(copied)
        report.add_value("texts that were not copied, and do not count", num_other, "")
        if not copied:
            sys.exit("Error: this model copied none of the texts, so nothing was measured.")
        report.add_value("tokens a step", _tokens_per_step(setup, list(copied)), "")
        ratio = statistics.median(copied.values())
        report.add_goal("ratio", ratio, f"at least {_GOAL}", met=ratio >= _GOAL)
        report.save()


def _label(number: int, speculate: bool) -> str:
    return f"text {number + 1}, {'guessing' if speculate else 'plain'}"


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
    """The words that stand in both in the same order, as a part of those of the longer one."""
    expected, words = text.split()[_BEGINNING:], reply.split()
    matcher = difflib.SequenceMatcher(None, expected, words, autojunk=False)
    same = sum(block.size for block in matcher.get_matching_blocks())
    return same / max(len(expected), len(words))


def _tokens_per_step(setup: Setup, texts: list[str]) -> float:
    """Tokens that a decode step yields when guessing, of these texts together."""
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
