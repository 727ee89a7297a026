"""Every situation a user can meet, its exit code, and the next command to type.

    LocalchatError                 1  something went wrong at run time
    ├── UsageError                 2  the command can't be understood
    │   ├── InputError             2  a prompt or a file can't be read as text
    │   ├── ConfigError            2  a setting has no valid value
    │   ├── InvalidGrammar         2  a schema or a grammar no answer can be held to
    │   └── AmbiguousId            2  several conversations have an id that begins so
    ├── ModelNotFound              3  the model is unknown or not installed
    ├── ConversationNotFound       3  the history has no such conversation or message
    ├── VerificationFailed         4  a file is not what its digest says
    ├── OutOfSpace                 5  no room on disk or in memory
    ├── NetworkNeeded              6  offline, or the source can't be reached
    ├── RowsFailed                 7  some rows of a batch have no answer
    ├── Interrupted              130  Ctrl-C
    ├── ModelLoadFailed            1  llama.cpp refuses the file
    ├── EngineDied                 1  the engine process is gone
    ├── EngineFailed               1  the engine could not carry out the request
    ├── ContextOverflow            1  the prompt is longer than the context
    ├── TemplateFailed             1  the chat template can't be rendered
    ├── ReplyInProgress            1  another localchat is writing this reply
    └── HistoryFailed              1  the history can't be read or written
        └── HistoryReadOnly        1  a newer localchat has written the history

Raised where the cause is known; turned into one sentence and a hint in `localchat.cli.main`.
"""

from __future__ import annotations


class LocalchatError(Exception):
    """Base of all errors meant for the user. `hint` is the next command to type, or advice."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(LocalchatError):
    exit_code = 2


class InputError(UsageError):
    pass


class ConfigError(UsageError):
    pass


class InvalidGrammar(UsageError):
    pass


class AmbiguousId(UsageError):
    pass


class ModelNotFound(LocalchatError):
    exit_code = 3


class ConversationNotFound(LocalchatError):
    exit_code = 3


class VerificationFailed(LocalchatError):
    exit_code = 4


class OutOfSpace(LocalchatError):
    exit_code = 5


class NetworkNeeded(LocalchatError):
    exit_code = 6


class RowsFailed(LocalchatError):
    exit_code = 7


class Interrupted(LocalchatError):
    exit_code = 130


class ModelLoadFailed(LocalchatError):
    pass


class EngineDied(LocalchatError):
    pass


class EngineFailed(LocalchatError):
    pass


class ContextOverflow(LocalchatError):
    pass


class TemplateFailed(LocalchatError):
    pass


class ReplyInProgress(LocalchatError):
    pass


class HistoryFailed(LocalchatError):
    pass


class HistoryReadOnly(HistoryFailed):
    pass


def from_kind(kind: str, message: str, hint: str | None) -> LocalchatError:
    """The exception that a `Failed` event stands for; an unknown kind is an `EngineFailed`."""
    found = globals().get(kind)
    if isinstance(found, type) and issubclass(found, LocalchatError):
        return found(message, hint)
    return EngineFailed(message, hint)
