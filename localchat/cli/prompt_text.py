"""Makes one message of files, standard input and the words on the command line.

Files come first, then standard input, each with its name and between fences longer than any in
it; the prompt follows after a blank line. Standard input alone is the prompt itself.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from localchat.errors import InputError
from localchat.types import GenerationRequest, Message

_FENCE = re.compile(r"`{3,}")


def compose(words: str, files: tuple[Path, ...]) -> str:
    """The text to send; empty if there is none at all. Raises InputError."""
    words = argument_text(words, "The prompt")
    parts = [_fenced(path.name, read_file(path)) for path in files]
    piped = read_stdin()
    if piped and not words and not parts:
        return piped
    if piped:
        parts.append(_fenced("stdin", piped))
    if words:
        parts.append(words)
    return "\n\n".join(parts)


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
    return _decode(argument.encode("utf-8", "surrogateescape"), name)


def read_file(path: Path) -> str:
    try:
        return _decode(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}.") from error


def read_stdin() -> str:
    """What is piped in, without the newline at its end; empty on a terminal."""
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    return _decode(sys.stdin.buffer.read(), "Standard input").removesuffix("\n")


def _decode(data: bytes, origin: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{origin} is not UTF-8 text: byte {error.start:,} is 0x{data[error.start]:02x}.",
            "Convert it first, for example: iconv -f latin1 -t utf-8",
        ) from error


def _fenced(name: str, text: str) -> str:
    longest = max((len(match) for match in _FENCE.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{name}:\n{fence}\n{text.removesuffix(chr(10))}\n{fence}"
