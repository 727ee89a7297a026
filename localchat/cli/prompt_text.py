"""Makes one message of files, standard input and the words on the command line.

Files come first, then standard input, each with its name and between fences longer than any in
it; the prompt follows after a blank line. Standard input alone is the prompt itself.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from localchat.session.attachments import decode, fenced, read_file, together
from localchat.types import GenerationRequest, Message


def compose(words: str, files: tuple[Path, ...]) -> str:
    """The text to send; empty if there is none at all. Raises InputError."""
    words = argument_text(words, "The prompt")
    parts = [fenced(path.name, read_file(path)) for path in files]
    piped = read_stdin()
    if piped and not words and not parts:
        return piped
    if piped:
        parts.append(fenced("stdin", piped))
    return together([*parts, words])


def request(system: str | None, text: str, *, raw: bool) -> GenerationRequest:
    """The request for an answer to a prompt with or without instructions. Raises InputError.

    `raw`: as text to go on with, without the model's chat template.
    """
    request_id = os.urandom(8).hex()
    messages: tuple[Message, ...] = (Message("user", text),)
    if system:
        instructions = argument_text(system, "The system prompt")
        messages = (Message("system", instructions), *messages)
    if raw:
        prompt = "\n\n".join(message.content for message in messages)
        return GenerationRequest(request_id, prompt=prompt)
    return GenerationRequest(request_id, messages)


def argument_text(argument: str, name: str) -> str:
    """An argument of the command line; bytes that are no text arrive in it as surrogates."""
    return decode(argument.encode("utf-8", "surrogateescape"), name)


def read_stdin() -> str:
    """What is piped in, without the newline at its end; empty on a terminal."""
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    return decode(sys.stdin.buffer.read(), "Standard input").removesuffix("\n")
