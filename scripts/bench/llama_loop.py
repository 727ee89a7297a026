"""A loop over llama-cpp-python's own chat completions: a process of its own for `batch_command`.

Reads a JSON object from standard input: model, threads, rows (of messages), tokens, biases.
Prints the seconds of the loop; loading is not counted.
"""

from __future__ import annotations

import json
import sys
import time

from llama_cpp import Llama


def main() -> None:
    asked = json.load(sys.stdin)
    llama = Llama(
        asked["model"],
        n_ctx=8192,
        n_batch=512,
        n_threads=asked["threads"],
        n_threads_batch=asked["threads"],
        verbose=False,
    )
    forbidden = {int(token): -1e30 for token in asked["forbidden"]}
    start = time.perf_counter()
    for messages in asked["rows"]:
        answer = llama.create_chat_completion(
            messages, max_tokens=asked["tokens"], temperature=0, logit_bias=forbidden
        )
        if answer["usage"]["completion_tokens"] != asked["tokens"]:
            sys.exit("Error: llama-cpp-python ended a reply early.")
    print(time.perf_counter() - start)


if __name__ == "__main__":
    main()
