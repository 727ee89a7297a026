"""How fast do tokens reach a client, against llama-bench? See README.md beside this file."""

from __future__ import annotations

import sys
import time

from common import Report, alternate, engine, llama_bench, parser, prepare

from localchat.client.base import EngineClient
from localchat.events import Failed, Finished, TextDelta
from localchat.types import GenerationRequest, SamplingParams

_TOKENS = 128
_GOAL = 0.97
# Every model goes on counting; llama-bench starts from an empty context, so this is short.
_PROMPT = "1, 2, 3, 4,"


def main() -> None:
    arguments = parser("tokens/s of decoding, through the engine process", rounds=10).parse_args()
    with prepare(arguments) as setup, engine(setup) as client:
        report = Report("decode", setup)
        measures = {
            "localchat": lambda: _decode(client),
            "llama-bench": lambda: llama_bench(setup, "-p", "0", "-n", str(_TOKENS)),
        }
        values = alternate(setup.rounds, measures, "tokens/s")
        medians = [report.add_rounds(name, values[name], "tokens/s").median for name in values]
        ratio = medians[0] / medians[1]
        report.add_goal("ratio", ratio, f"at least {_GOAL}", met=ratio >= _GOAL)
        report.save()


def _decode(client: EngineClient) -> float:
    """Tokens per second from the first one to the last, as they arrive here."""
    params = SamplingParams(temperature=0.0, max_tokens=_TOKENS)
    request = GenerationRequest(
        "decode", prompt=_PROMPT, params=params, reuse_cache=False, speculate=False
    )
    client.submit(request)
    first = last = 0.0
    for event in client.events():
        match event:
            case TextDelta():
                last = time.perf_counter()
                first = first or last
            case Finished(finish_reason=reason, usage=usage):
                last = time.perf_counter()
                if reason != "length" or usage.completion_tokens != _TOKENS:
                    sys.exit(f"Error: the model ended after {usage.completion_tokens} tokens.")
            case Failed(message=message):
                sys.exit(f"Error: {message}")
    return (_TOKENS - 1) / (last - first)


if __name__ == "__main__":
    main()
