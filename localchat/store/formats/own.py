"""Our own JSON: everything the store knows of a conversation, but the numbers it gives messages.

Messages are named by their places in the list, which has parents before their children.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from localchat.store.records import Conversation, Generation, StoredMessage

FORMAT = "localchat"
VERSION = 1


def to_json(conversation: Conversation, tree: Sequence[StoredMessage]) -> dict[str, Any]:
    """`tree`: all its messages, parents first."""
    places = {message.id: place for place, message in enumerate(tree)}
    return {
        "format": FORMAT,
        "version": VERSION,
        "id": conversation.id,
        "title": conversation.title,
        "title_is_own": conversation.title_is_own,
        "created": conversation.created,
        "updated": conversation.updated,
        "leaf": None if conversation.leaf is None else places.get(conversation.leaf),
        "settings": plain(conversation.settings),
        "source": conversation.source,
        "messages": [message_to_json(message, places) for message in tree],
    }


def message_to_json(message: StoredMessage, names: Mapping[int, int]) -> dict[str, Any]:
    """`names`: what messages are called in place of their ids."""
    return {
        "parent": None if message.parent is None else names.get(message.parent),
        "role": message.role,
        "content": message.content,
        "reasoning": message.reasoning,
        "created": message.created,
        # By the time it is read, nobody writes it any more.
        "state": "incomplete" if message.state == "generating" else message.state,
        "generations": [_generation_to_json(one, names) for one in message.generations],
    }


def _generation_to_json(generation: Generation, names: Mapping[int, int]) -> dict[str, Any]:
    provenance, usage, timings, trim = (
        generation.provenance,
        generation.usage,
        generation.timings,
        generation.trim,
    )
    return {
        "model": provenance.model,
        "model_sha256": provenance.model_sha256,
        "template_sha256": provenance.template_sha256,
        "engine_build": provenance.engine_build,
        "params": plain(provenance.params),
        "content_from": generation.content_from,
        "reasoning_from": generation.reasoning_from,
        "finish_reason": generation.finish_reason,
        "seed": generation.seed,
        "usage": usage
        and {
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": usage.cached_tokens,
            "completion_tokens": usage.completion_tokens,
        },
        "timings": timings
        and {"queue": timings.queue, "prefill": timings.prefill, "decode": timings.decode},
        "trim": trim
        and {
            "dropped": [names[id_] for id_ in trim.dropped if id_ in names],
            "summary": trim.summary,
        },
        "error": generation.error,
    }


def plain(value: Any) -> Any:
    """`value` with numbers that JSON has none for as objects: a bias may be minus infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value
