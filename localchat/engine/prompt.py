"""Messages to tokens. Control tokens come from the template alone.

Text from users, files and stored history stays text even where it spells a control token. Before
the template runs, each such spelling in a message is replaced by one private-use character;
afterwards it is put back and tokenized with special-token parsing off. A conversation that spells
none is tokenized in one call and equals llama.cpp's own tokens. A reasoning model's markers are
treated alike; those that are tokens llama.cpp finds in any text are cut in two.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from localchat.engine.markers import (
    Markers,
    begins_inside,
    budget_end,
    closing,
    find_markers,
    resumed,
    template_variables,
    turns_off,
)
from localchat.errors import TemplateFailed
from localchat.types import GenerationRequest, Message, PartialReply, ReasoningMode

if TYPE_CHECKING:  # jinja2 takes 35 ms to import, and the engine listens before that
    from localchat.engine.chat_template import ChatTemplate

# Planes 15 and 16: never assigned to characters. Ones that a message holds are replaced as well.
_FIRST_GUARD = 0xF0000
_GUARDS = "\U000f0000-\U0010ffff"
_MAX_GUARDS = 0x110000 - _FIRST_GUARD
_C_SPACE = " \t\n\v\f\r"  # what llama.cpp takes for white space


class Tokenizer(Protocol):
    """What is needed of `localchat.llama.vocabulary.Vocabulary`."""

    adds_bos: bool

    @property
    def bos(self) -> str: ...
    @property
    def control_tokens(self) -> dict[str, int]: ...
    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]: ...
    def piece(self, token: int) -> bytes: ...
    def strips_space_after(self, token: int) -> bool: ...
    def strips_space_before(self, token: int) -> bool: ...


@dataclass(frozen=True, slots=True)
class Prompt:
    text: str
    tokens: list[int]
    markers: Markers | None = None
    """How the model marks its thinking; None if it does not think, or the prompt is raw."""
    inside: bool = False
    """Whether the completion begins inside a thinking span."""
    num_said: int = 0
    """Tokens at the end that begin the reply."""


class PromptBuilder:
    """Builds the prompts of one model; `template` is None for a model without a chat template."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate | None) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self.markers = find_markers(template.source) if template else None
        """How the model marks its thinking; None for one that does not think."""
        control = tokenizer.control_tokens
        tags = self.markers.spellings if self.markers else frozenset[str]()
        self.marker_pieces = {control[tag]: tag.encode() for tag in tags if tag in control}
        """What `CompletionText` gets for these tokens, whose own pieces are empty."""
        spellings = _longest_first({*control, *tags})
        self._control = _any_of(control)
        self._marker = _any_of(tags - control.keys())
        self._hidden = re.compile(f"{_any_of(spellings).pattern}|[{_GUARDS}]")
        self._beginnings = {text[:end] for text in spellings for end in range(1, len(text))}
        self._endings = {text[start:] for text in spellings for start in range(1, len(text))}
        self._longest = max(map(len, spellings), default=0)

    @property
    def template_source(self) -> str | None:
        """The Jinja text of the template in use; None without one."""
        return self._template.source if self._template else None

    @functools.cached_property
    def budget_end(self) -> list[int]:
        """The tokens that make the model answer when its reasoning budget is used up."""
        text = budget_end(self.markers) if self.markers else ""
        return self._tokenizer.tokenize(text, add_special=False, parse_special=True)

    def build(self, request: GenerationRequest) -> Prompt:
        """The prompt of a request: rendered by the template, or plain text where there is none.

        Thinking is turned on or off as `template_variables` and `closing` say. A reply that goes
        on is tokenized apart from what is before it, as it was when it was generated.
        Raises TemplateFailed.
        """
        prompt = self._build(request)
        reply = request.partial_reply
        if reply is None or not (reply.content or reply.reasoning):
            return prompt
        return self._with_reply(prompt, reply, thinks=request.reasoning != "off")

    def count(self, content: str, prompt: Prompt) -> int:
        """Tokens of a message's text, as `prompt` has it: many templates trim it.

        Those at its edges may be shared with what is beside it.
        """
        return len(self._plain(content if content in prompt.text else content.strip()))

    def said(self, request: GenerationRequest, prompt: Prompt) -> tuple[tuple[int, int], ...]:
        """Where in the text of a request's prompt those of its messages stand: (from, to).

        Nothing if the template does more with them than to trim them. Raises TemplateFailed.
        """
        if request.prompt is not None or self._template is None:
            return ((0, len(prompt.text)),)
        guards = _Guards()
        edge = guards.hide("")
        rendered, _ = self._rendered(self._template, request, guards, edge)
        text = guards.restore(rendered)
        places = [start for start, end in guards.spans(rendered) if start == end]
        number = sum(bool(message.content.strip()) for message in request.messages)
        if not prompt.text.startswith(text) or len(places) != 2 * number:
            return ()
        said = [*zip(places[::2], places[1::2], strict=True)]
        if request.partial_reply is not None:
            said.append((len(text), len(prompt.text)))
        return tuple(said)

    def _with_reply(self, prompt: Prompt, reply: PartialReply, *, thinks: bool) -> Prompt:
        reasoning = reply.reasoning if prompt.markers and thinks else ""
        before = after = ""
        if prompt.markers:
            answers = bool(reply.content)
            before, after = resumed(prompt.markers, prompt.text, reasoning, answers=answers)
        said = [
            *self._tokenizer.tokenize(before, add_special=False, parse_special=True),
            *self._plain(reasoning),
            *self._tokenizer.tokenize(after, add_special=False, parse_special=True),
            *self._plain(reply.content),
        ]
        return replace(
            prompt,
            text=f"{prompt.text}{before}{reasoning}{after}{reply.content}",
            tokens=prompt.tokens + said,
            inside=bool(reasoning) and not reply.content,
            num_said=len(said),
        )

    def _plain(self, text: str) -> list[int]:
        """Tokens of text that goes on, without a control token, a marker, or a space in front."""
        cuts = [0, *((m.start() + m.end()) // 2 for m in self._marker.finditer(text)), len(text)]
        parts = [text[start:end] for start, end in itertools.pairwise(cuts)]
        return [token for part in parts for token in self._tail(part)]

    def _tail(self, text: str) -> list[int]:
        """Tokens of `text` behind other text: before a first one some tokenizers put a space."""
        tokenize = functools.partial(
            self._tokenizer.tokenize, add_special=False, parse_special=False
        )
        if not text or not self._adds_space:
            return tokenize(text)
        if text.startswith(" "):
            return tokenize(text[1:])
        line = tokenize("\n")
        tokens = tokenize(f"\n{text}")
        return tokens[len(line) :] if tokens[: len(line)] == line else tokenize(text)

    @functools.cached_property
    def _adds_space(self) -> bool:
        tokens = self._tokenizer.tokenize("a", add_special=False, parse_special=False)
        return b"".join(map(self._tokenizer.piece, tokens)).startswith(b" ")

    def _build(self, request: GenerationRequest) -> Prompt:
        if request.prompt is not None:
            tokens = self._tokenizer.tokenize(request.prompt, add_special=True, parse_special=False)
            return Prompt(request.prompt, tokens)
        if self._template is None:
            text = "\n\n".join(message.content for message in request.messages)
            tokens = self._tokenizer.tokenize(text, add_special=True, parse_special=False)
            return Prompt(text, tokens)
        guards = _Guards()
        rendered, inside = self._rendered(self._template, request, guards)
        text = guards.restore(rendered)
        if guards:
            tokens = self._tokenize_guarded(rendered, guards)
        else:
            tokens = self._tokenizer.tokenize(text, add_special=True, parse_special=True)
        return Prompt(text, tokens, self.markers, inside)

    def _rendered(
        self, template: ChatTemplate, request: GenerationRequest, guards: _Guards, edge: str = ""
    ) -> tuple[str, bool]:
        """What `_render` returns, with the messages hidden, and `edge` on both sides of each."""
        hidden = tuple(
            replace(message, content=_framed(self._hide(message.content, guards), edge))
            for message in request.messages
        )
        rendered, inside = self._render(template, hidden, request.reasoning)
        if self._tokenizer.adds_bos and self._tokenizer.bos:
            # The tokenizer adds it; the template's own would be a second one.
            rendered = rendered.removeprefix(self._tokenizer.bos)
        return rendered, inside

    def _render(
        self, template: ChatTemplate, messages: tuple[Message, ...], mode: ReasoningMode
    ) -> tuple[str, bool]:
        """The rendered prompt, and whether it ends inside a thinking span."""
        variables = template_variables(template.variables, template.strings, mode)
        rendered = template.render(messages, variables)
        if self.markers is None:
            return rendered, False
        if mode == "off":
            rendered += closing(self.markers, rendered, switched_off=turns_off(variables))
        return rendered, begins_inside(self.markers, rendered)

    def _hide(self, text: str, guards: _Guards) -> str:
        text = self._hidden.sub(lambda match: guards.hide(match.group()), text)
        # Half a spelling at an edge could be completed by what the template puts beside it, once
        # it has trimmed the white space.
        end = text.rstrip()
        if tail := _longest_in(self._beginnings, (end[-n:] for n in self._lengths(end))):
            text = end.removesuffix(tail) + guards.hide(tail) + text[len(end) :]
        start = text.lstrip()
        if head := _longest_in(self._endings, (start[:n] for n in self._lengths(start))):
            text = text.removesuffix(start) + guards.hide(head) + start.removeprefix(head)
        return text

    def _lengths(self, text: str) -> range:
        return range(min(len(text), self._longest - 1), 0, -1)

    def _tokenize_guarded(self, rendered: str, guards: _Guards) -> list[int]:
        """What llama.cpp does with special-token parsing on, but only for unguarded text."""
        tokenizer, control = self._tokenizer, self._tokenizer.control_tokens
        tokens = tokenizer.tokenize("", add_special=True, parse_special=False)
        position, previous = 0, None
        for match in [*self._control.finditer(rendered), None]:
            found = control[match.group()] if match else None
            plain = rendered[position : match.start() if match else None]
            if previous is not None and tokenizer.strips_space_after(previous):
                plain = plain.lstrip(_C_SPACE)
            if found is not None and tokenizer.strips_space_before(found):
                plain = plain.rstrip(_C_SPACE)
            if plain:
                for part in self._parts(plain, guards):
                    tokens += tokenizer.tokenize(part, add_special=False, parse_special=False)
            if match and found is not None:
                tokens.append(found)
                position, previous = match.end(), found
        return tokens

    def _parts(self, rendered: str, guards: _Guards) -> list[str]:
        """Text of the prompt, cut inside each marker that a message spells or helps to spell."""
        text = guards.restore(rendered)
        typed = guards.spans(rendered)
        cuts = [0]
        for match in self._marker.finditer(text):
            if any(start < match.end() and match.start() < end for start, end in typed):
                cuts.append((match.start() + match.end()) // 2)
        return [text[start:end] for start, end in itertools.pairwise([*cuts, len(text)])]


class _Guards:
    """Stand-ins for pieces of text, one private-use character for each distinct piece."""

    def __init__(self) -> None:
        self._character: dict[str, str] = {}
        self._text: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._text)

    def hide(self, text: str) -> str:
        if text not in self._character:
            if len(self._text) == _MAX_GUARDS:
                raise TemplateFailed("The conversation has too many private-use characters.")
            character = chr(_FIRST_GUARD + len(self._text))
            self._character[text] = character
            self._text[character] = text
        return self._character[text]

    def restore(self, text: str) -> str:
        if not self._text:
            return text
        return re.sub(f"[{_GUARDS}]", lambda match: self._text.get(match[0], match[0]), text)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where in the restored text the pieces stand that were hidden."""
        spans, grown = [], 0
        for match in re.finditer(f"[{_GUARDS}]", text):
            start = match.start() + grown
            length = len(self._text.get(match[0], match[0]))
            spans.append((start, start + length))
            grown += length - 1
        return spans


def _framed(text: str, edge: str) -> str:
    """`text` between two edges, which leave white space outside that a template would trim."""
    core = text.strip()
    return text.replace(core, f"{edge}{core}{edge}", 1) if core else text


def _any_of(spellings: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, _longest_first(spellings))) or "(?!)")


def _longest_first(spellings: Iterable[str]) -> list[str]:
    """As llama.cpp looks for them: long ones before their prefixes."""
    return sorted(spellings, key=len, reverse=True)


def _longest_in(known: set[str], candidates: Iterable[str]) -> str | None:
    return next((text for text in candidates if text in known), None)
