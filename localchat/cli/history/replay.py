"""`localchat history replay`: makes a reply again, and says whether it is the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import click

from localchat import paths
from localchat.cli import output
from localchat.cli.engine import connect
from localchat.cli.history.opened import existing, find
from localchat.cli.options import offline_option
from localchat.errors import ConversationNotFound, ModelNotFound
from localchat.session.replay import Difference, Part, parts, replay
from localchat.store.records import Provenance, StoredMessage
from localchat.types import EngineInfo, ModelRef

_BEFORE = 30  # characters to show before a difference


@click.command("replay")
@click.argument("id_", metavar="[ID]", required=False)
@click.option("--message", type=int, metavar="N", help="The reply with this number.")
@offline_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_context
def command(
    ctx: click.Context, id_: str | None, message: int | None, offline: bool, as_json: bool
) -> None:
    """Make a reply again, by default the last one of the last conversation.

    The same model is sent the same messages, with the same values and seed. Says "equal", or where
    the texts part. Nothing is reused of what was computed before; roundings may differ from a
    reply for which something was. Exits with 1 if they part.
    """
    path = _path(id_, message)
    found = parts(path)
    recorded = found[-1].made.provenance
    with connect(recorded.model, None, None, offline=offline) as connection:
        _refuse_another(recorded, connection.model)
        notes = _notes(recorded, connection.client.info)
        difference = None
        for number, part in enumerate(found, 1):
            connection.status.show(f"Making run {number} of {len(found)} again …")
            difference = replay(connection.client, part)
            if difference is not None:
                break
        connection.status.clear()
    if difference is not None and (note := _rounding(part)):
        notes.append(note)
    if as_json:
        output.json_line(_as_json(path[-1], part, difference, notes))
    else:
        for note in notes:
            output.note(f"Note: {note}")
        _print(part, difference)
    if difference is not None:
        ctx.exit(1)


def _path(id_: str | None, message: int | None) -> list[StoredMessage]:
    """The messages up to the reply that is meant. Raises ConversationNotFound."""
    with existing(paths.find()) as store:
        if message is None or id_ is not None:
            conversation = find(store, id_).id
        elif store is not None:
            conversation = store.message(message).conversation
        else:
            conversation = find(store, None).id
        assert store is not None
        path = store.path(conversation, message)
    if message is None:
        while path and path[-1].role != "assistant":
            path.pop()
    if not path:
        raise ConversationNotFound(
            "The conversation has no reply yet.", "See what there is: localchat history list"
        )
    return path


def _refuse_another(recorded: Provenance, model: ModelRef) -> None:
    if recorded.model_sha256 != model.sha256:
        raise ModelNotFound(
            f"{model.name} is another file now than the one that made the reply.",
            "See what is installed: localchat models list",
        )


def _notes(recorded: Provenance, info: EngineInfo) -> list[str]:
    """What is not as it was."""
    notes = []
    if recorded.model_sha256 is None:
        notes.append("whether the file of the model is still the same is not known.")
    if recorded.template_sha256 != info.template_sha256:
        notes.append("the model's chat template is another one now, so the prompt may be, too.")
    if recorded.engine_build != (info.build or None):
        notes.append(
            f"llama.cpp is another build now: {info.build}; it was {recorded.engine_build}."
        )
    return notes


def _rounding(part: Part) -> str | None:
    usage = part.made.usage
    if usage is None or not usage.cached_tokens:
        return None
    return (
        f"{usage.cached_tokens:,} of the {usage.prompt_tokens:,} tokens of the prompt were there"
        " already when the reply was made; now all were computed together, so roundings differ."
    )


def _print(part: Part, difference: Difference | None) -> None:
    if difference is None:
        output.line("equal" if part.is_whole else "equal, as far as the reply goes")
        return
    where = "of the reasoning" if difference.kind == "reasoning" else "of the reply"
    output.line(
        f"different from token {difference.token} on, character {difference.at + 1} {where}"
    )
    text = part.reasoning if difference.kind == "reasoning" else part.content
    before = text[max(0, difference.at - _BEFORE) : difference.at]
    for name, rest in (("recorded", difference.recorded), ("replayed", difference.replayed)):
        output.line(f"  {name}: {_on_one_line(before)}│{_on_one_line(rest) or '(it ends)'}")
    if len(difference.likelihoods) == 2:
        (new, likely), (old, unlikely) = difference.likelihoods
        output.line(
            f"  probabilities: {_on_one_line(old)!r} {math.exp(unlikely):.1%},"
            f" {_on_one_line(new)!r} {math.exp(likely):.1%}"
        )


def _on_one_line(text: str) -> str:
    return text.replace("\n", "⏎").replace("\t", " ")


def _as_json(
    reply: StoredMessage, part: Part, difference: Difference | None, notes: Sequence[str]
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "conversation": reply.conversation,
        "message": reply.id,
        "model": part.made.provenance.model,
        "equal": difference is None,
        "whole": part.is_whole,
        "notes": list(notes),
    }
    if difference is None:
        return found
    return found | {
        "kind": difference.kind,
        "token": difference.token,
        "character": difference.at,
        "recorded": difference.recorded,
        "replayed": difference.replayed,
        "likelihoods": [{"token": text, "logprob": p} for text, p in difference.likelihoods],
    }
