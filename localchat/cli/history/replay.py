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
from localchat.session.replay import Difference, Part, Replayed, parts, replay
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
    the texts part, and then exits with 1. Where the reply went on from what was computed before,
    the replies before it are made again, too: even roundings are to be the same.
    """
    path = _path(id_, message)
    recorded = parts(path)[-1].made.provenance
    with connect(recorded.model, None, None, offline=offline) as connection:
        _refuse_another(recorded, connection.model)
        notes = _notes(recorded, connection.client.info)
        status = connection.status

        def progress(done: int, total: int) -> None:
            status.show(f"Making it again: {done} of {total} …")

        replayed = replay(connection.client, path, progress)
        status.clear()
    difference, part, is_as_made = replayed
    if difference is not None and not is_as_made:
        notes.append(
            "not all could be made in the same way as the first time, so roundings may differ."
        )
    if as_json:
        output.json_line(_as_json(path[-1], replayed, notes))
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


def _as_json(reply: StoredMessage, replayed: Replayed, notes: Sequence[str]) -> dict[str, Any]:
    difference, part, is_as_made = replayed
    found: dict[str, Any] = {
        "conversation": reply.conversation,
        "message": reply.id,
        "model": part.made.provenance.model,
        "equal": difference is None,
        "whole": part.is_whole,
        "as_made": is_as_made,
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
