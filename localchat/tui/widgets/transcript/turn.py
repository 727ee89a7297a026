"""One message as it is shown: its lines, made for one width and kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice

from textual.content import Content
from textual.style import Style

from localchat.sanitize import clean
from localchat.store.records import StoredMessage
from localchat.tui.widgets.transcript.attached import folded
from localchat.tui.widgets.transcript.blocks import Block
from localchat.tui.widgets.transcript.document import Document, markdown_length
from localchat.tui.widgets.transcript.footer import footer
from localchat.tui.widgets.transcript.lines import BLANK, Line, prefixed, wrap, wrap_plain
from localchat.tui.widgets.transcript.rendering import block_lines
from localchat.tui.widgets.transcript.thinking import Thinking

_BAR = Content.styled("▎ ", ".bar")
_BLANK_BAR = Content("  ")
_NARROWEST = 8  # columns of text
_MOST = 10_000  # lines of one message
_REST = "… the rest is not shown, but copied with it"


class Turn:
    """A message; `lines` are what is drawn of it. Texts are cleaned on their way in."""

    def __init__(self, message: StoredMessage, siblings: Sequence[int] = ()) -> None:
        self.id = message.id
        self.is_unfolded = False
        """Whether what is folded at first (thinking, files, the system prompt) is shown."""
        self.thinking = Thinking()
        self._document = Document()
        self.width = 0
        """Columns that the lines were made for last."""
        self._height = 0
        self._lines: list[Line] = []
        self._parts: list[list[Line]] = []  # of each block of the document
        self._kept = 0  # parts that are up to date
        self._is_stale = True
        self.changed_from = 0
        """How many lines at the beginning stayed when the lines were made last."""
        self._set(message, siblings)

    def _set(self, message: StoredMessage, siblings: Sequence[int]) -> None:
        self.message = message
        self.siblings = tuple(siblings)
        self.content = clean(message.content)
        self.reasoning = clean(message.reasoning)
        self._taken = len(message.content) + len(message.reasoning)

    def update(self, message: StoredMessage, siblings: Sequence[int]) -> bool:
        """Takes what is known of the message now. Returns whether that changes what is drawn."""
        if message == self.message and self.siblings == tuple(siblings):
            return False
        self._set(message, siblings)
        self._is_stale = True
        return True

    def grow(self, content: str, reasoning: str, tokens: int) -> None:
        """Takes the texts of a reply so far: what it had, and more."""
        self.content = clean(content)
        self.reasoning = clean(reasoning)
        self._taken = len(content) + len(reasoning)
        self.thinking.follow(self.reasoning, bool(self.content), tokens)
        self._is_stale = True

    def fold(self) -> None:
        """Shows what is folded, or folds it again."""
        self.is_unfolded = not self.is_unfolded
        self._is_stale = True

    def is_behind(self, content: str, reasoning: str) -> bool:
        """Whether a growing reply has more text than was taken."""
        return len(content) + len(reasoning) != self._taken

    @property
    def is_made(self) -> bool:
        """Whether there are lines of it, for any width."""
        return bool(self._lines)

    @property
    def is_growing(self) -> bool:
        """Whether the reply is still being written."""
        return self.message.state == "generating"

    @property
    def code_blocks(self) -> list[str]:
        """The code in it, in order."""
        document = Document()
        document.append(self.content[: markdown_length(self.content)], is_open=False)
        return [block.text for block in _walk(document.blocks) if block.kind == "code"]

    def height(self, width: int) -> int:
        """Lines it takes, with the blank ones after it; an estimate until they are made."""
        if width == self.width and self._height:
            return self._height
        text = self.content
        return min(text.count("\n") + len(text) // max(width, 1), _MOST) + 3

    def is_measured(self, width: int) -> bool:
        """Whether its lines are made for that width."""
        return width == self.width and not self._is_stale

    def forget(self) -> None:
        """Gives the memory of the lines back; the height stays known."""
        if self._lines and not self.is_growing:
            self._lines = []
            self._parts = []
            self._kept = 0
            self._document = Document()
            self._is_stale = True

    def lines(self, width: int) -> list[Line]:
        """What is drawn, in `width` columns."""
        if self._is_stale or width != self.width:
            if width != self.width:
                self._kept = 0
            self.width = width
            before = self._lines
            self._lines = list(islice(self._make(max(width, _NARROWEST)), _MOST))
            if len(self._lines) == _MOST:
                self._lines += [Line(Content.styled(_REST, ".muted"), len(_REST)), BLANK]
            self.changed_from = _same(before, self._lines)
            self._height = len(self._lines)
            self._is_stale = False
        return self._lines

    def margin(self, number: int) -> Content:
        """What stands left of a line."""
        is_text = self.message.role == "user" and number < self._height - 1
        return _BAR if is_text else _BLANK_BAR

    def _make(self, width: int) -> Iterator[Line]:
        match self.message.role:
            case "system":
                yield from self._system(width)
            case "user":
                yield from self._user(width)
            case "assistant":
                yield from self._reply(width)
        yield BLANK

    def _system(self, width: int) -> Iterator[Line]:
        mark = "▾" if self.is_unfolded else "▸"
        first = " ".join(self.content.split())
        head = f"{mark} System prompt"
        if self.is_unfolded:
            yield _clickable(head, self.id)
            yield from prefixed(wrap_plain(self.content, width - 2, ".muted"), Content("  "))
        else:
            line = Content(f"{head}: {first}").truncate(width, ellipsis=True)
            yield _clickable(line.plain, self.id)

    def _user(self, width: int) -> Iterator[Line]:
        parts = [*folded(self.content, unfold=self.is_unfolded)]
        if said := footer(self.message, self.siblings):
            parts.append((said, True))
        for text, is_remark in parts:
            style = ".remark" if is_remark else ".user"
            for line in wrap_plain(text, width - 1, style):
                padded = line.content.pad_right(width - line.content.cell_length)
                yield line._replace(content=padded.stylize_before(".user"))

    def _reply(self, width: int) -> Iterator[Line]:
        if self.reasoning:
            head = self.thinking.head(self.reasoning, width, is_open=self.is_unfolded)
            yield _clickable(head, self.id)
            if self.is_unfolded:
                yield from self.thinking.lines(self.reasoning, width)
            if self.content:
                yield BLANK
        self._follow_content()
        del self._parts[self._kept :]
        blocks = self._document.blocks
        references = self._document.references
        for block in blocks[self._kept :]:
            lines = block_lines(block, width, references)
            self._parts.append([BLANK, *lines] if block.gap else lines)
        self._kept = len(blocks)
        yield from chain.from_iterable(self._parts)
        if rest := self.content[len(self._document.source) :].strip("\n"):
            yield BLANK
            yield from wrap_plain(rest, width)
        if said := footer(self.message, self.siblings):
            if self.content or self.reasoning:
                yield BLANK
            for line in wrap(Content.styled(said, ".footer"), width):
                yield line._replace(indent=len(line.content))

    def _follow_content(self) -> None:
        document = self._document
        readable = self.content[: markdown_length(self.content)]
        if not readable.startswith(document.source):
            self._document = document = Document()
            self._kept = 0
        more = readable[len(document.source) :]
        is_open = self.is_growing
        if more or (document.is_open and not is_open):
            self._kept = min(self._kept, document.append(more, is_open=is_open))


def _clickable(text: str, message_id: int) -> Line:
    click = Style.from_meta({"@click": f"fold({message_id})"})
    return Line(Content.styled(text, ".muted").stylize(click), len(text))


def _same(before: Sequence[Line], after: Sequence[Line]) -> int:
    """How many lines at the beginning are drawn alike."""
    count = 0
    for old, new in zip(before, after, strict=False):
        if old is not new and not old.content.is_same(new.content):
            break
        count += 1
    return count


def _walk(blocks: Sequence[Block]) -> Iterator[Block]:
    for block in blocks:
        yield block
        yield from _walk(block.children)
