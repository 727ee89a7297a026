"""OpenAI's Batch output: one JSON object a row, with a chat completion as its response's body."""

from __future__ import annotations

import json
from typing import Any

from localchat.batch.journal import Entry
from localchat.batch.outcome import Completion


class OpenAIWriter:
    def __init__(self, model: str) -> None:
        """`model`: the name that stands in the bodies."""
        self._model = model
        self.header = ""

    def text(self, entry: Entry) -> str:
        # By what was asked: made again from the journal, it is the same file.
        id_ = entry.digest.hex()[:24]
        error, response = entry.outcome.error, None
        if error is None:
            response = {
                "status_code": 200,
                "request_id": f"req_{id_}",
                "body": self._body(entry, id_),
            }
        line = {
            "id": f"batch_req_{id_}",
            "custom_id": entry.custom_id,
            "response": response,
            "error": None if error is None else {**error._asdict(), "line": entry.line},
        }
        return json.dumps(line, ensure_ascii=False) + "\n"

    def _body(self, entry: Entry, id_: str) -> dict[str, Any]:
        came = entry.outcome
        usage = came.usage
        body: dict[str, Any] = {
            "id": f"chatcmpl-{id_}",
            "object": "chat.completion",
            "created": came.created,
            "model": self._model,
            "choices": [_choice(index, one) for index, one in enumerate(came.completions)],
            "usage": {
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
                "total_tokens": usage.prompt_tokens + usage.completion_tokens,
                "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
            },
        }
        if came.scores:
            body["probabilities"] = dict(came.scores)
        return body


def _choice(index: int, one: Completion) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": one.text, "refusal": None}
    if one.reasoning:
        message["reasoning_content"] = one.reasoning
    choice: dict[str, Any] = {
        "index": index,
        "message": message,
        "logprobs": None if one.logprobs is None else {"content": one.logprobs},
        "finish_reason": one.finish_reason,
    }
    if one.seed is not None:
        choice["seed"] = one.seed
    return choice
