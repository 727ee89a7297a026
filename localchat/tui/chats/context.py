"""What fills the context of a conversation, and what the model sees of it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from localchat.client.base import EngineClient
from localchat.errors import EngineFailed, from_kind
from localchat.events import Failed, Rendered
from localchat.session.session import Session
from localchat.types import GenerationRequest, Role

_WORDS = 400  # characters of a message: more than a line of the screen has


@dataclass(frozen=True, slots=True)
class Cost:
    """What one message takes of the context."""

    role: Role
    words: str
    """How it begins."""
    tokens: int
    is_dropped: bool = False
    """Whether the model would not see it, because the conversation is too long."""


@dataclass(frozen=True, slots=True)
class ContextUse:
    """Numbers are tokens."""

    costs: tuple[Cost, ...]
    prompt_tokens: int
    """Of what would be sent: messages, and what the template puts around them."""
    context: int
    prompt: str
    said: tuple[tuple[int, int], ...] = ()
    """Where in `prompt` the messages are, see `localchat.events.Rendered`."""
    is_summarised: bool = False
    """Whether a summary would stand for what is dropped."""

    @property
    def messages(self) -> int:
        """Of all messages that would be sent."""
        return sum(cost.tokens for cost in self.costs if not cost.is_dropped)

    @property
    def template(self) -> int:
        """What the template puts around the messages."""
        return max(self.prompt_tokens - self.messages, 0)

    @property
    def left(self) -> int:
        """For the reply."""
        return max(self.context - self.prompt_tokens, 0)

    @property
    def is_too_long(self) -> bool:
        """Whether it can't be sent."""
        return self.prompt_tokens >= self.context

    @property
    def parts(self) -> list[tuple[str, bool]]:
        """The prompt's text in pieces, and whether a piece is the template's."""
        cuts = [0, *itertools.chain(*self.said), len(self.prompt)]
        texts = [self.prompt[start:end] for start, end in itertools.pairwise(cuts)]
        return [(text, number % 2 == 0) for number, text in enumerate(texts) if text]


def measure(client: EngineClient, session: Session, text: str | None = None) -> ContextUse:
    """What would be sent with `text`, or what the model has seen up to now.

    Waits for the engine. Raises what `Session.preview` raises, and what the engine's failure
    stands for.
    """
    request = session.preview(text)
    client.submit(request)
    for event in client.events():
        if event.request_id != request.id:
            continue
        if isinstance(event, Failed):
            raise from_kind(event.kind, event.message, event.hint)
        if isinstance(event, Rendered):
            return _use(request, event, client.info.context)
    raise EngineFailed("The engine ended without an answer.")


def _use(request: GenerationRequest, rendered: Rendered, context: int) -> ContextUse:
    said: list[tuple[Role, str]] = [(one.role, one.content) for one in request.messages]
    if reply := request.partial_reply:
        said.append(("assistant", reply.content or reply.reasoning))
    costs = tuple(
        Cost(role, content[:_WORDS], tokens, index in rendered.dropped)
        for index, ((role, content), tokens) in enumerate(
            zip(said, rendered.message_tokens, strict=False)
        )
    )
    return ContextUse(
        costs,
        rendered.prompt_tokens,
        context,
        rendered.prompt,
        rendered.said,
        request.overflow == "summarise",
    )
