"""GBNF, llama.cpp's notation for grammars, as Lark rules.

Every character is a terminal of its own: longer ones would be matched greedily, so that
`[a-z]* "abc"` would match nothing, where GBNF has no such rule.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from localchat.errors import InvalidGrammar

MAX_BYTES = 64 * 1024
MAX_DEPTH = 64
MAX_REPEAT = 2000
MAX_SYMBOLS = 20_000
"""Of all rules, with every repetition written out."""

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_BLANKS = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_BLANK_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_BOUNDS = re.compile(r"\{\s*(\d{1,9})\s*(?:(,)\s*(\d{1,9})?\s*)?\}")
_HEX = {"x": 2, "u": 4, "U": 8}
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n"} | {char: char for char in '\\"[]-'}
_LARGEST = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


def to_lark(grammar: str) -> str:
    """Raises InvalidGrammar, with the line, for what is not GBNF, is too large, or never ends."""
    if len(grammar.encode("utf-8", "replace")) > MAX_BYTES:
        raise InvalidGrammar(f"The grammar is longer than {MAX_BYTES // 1024} KiB.")
    return _Parser(grammar).parse()


@dataclass(slots=True)
class _Rule:
    """A rule, or a group in parentheses, which becomes a rule too."""

    name: str
    alternatives: list[list[str]] = field(default_factory=list)
    needs: list[set[str]] = field(default_factory=list)
    """For each alternative, the rules without which it never ends."""
    symbols: int = 0


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._rules: list[_Rule] = []
        self._names: dict[str, _Rule] = {}
        self._defined: set[str] = set()
        self._used: dict[str, int] = {}
        self._terminals: dict[str, str] = {}
        self._symbols = 0

    def parse(self) -> str:
        self._skip(_BLANK_LINES)
        while self._position < len(self._text):
            self._parse_rule()
            self._skip(_BLANK_LINES)
        for name, position in self._used.items():
            if name not in self._defined:
                raise self._fault(f"the rule {name!r} is not defined", position)
        if "root" not in self._defined:
            raise InvalidGrammar("The grammar has no rule 'root', where it would begin.")
        root = self._names["root"].name
        if root not in self._ending():
            raise InvalidGrammar("The grammar's rule 'root' goes on for ever: it has no end.")
        rules = [f"start: {root}"]
        for rule in self._rules:
            choices = " | ".join(" ".join(symbols) or '""' for symbols in rule.alternatives)
            rules.append(f"{rule.name}: {choices}")
        rules += [f"{name}: /{pattern}/" for pattern, name in self._terminals.items()]
        return "\n".join(rules)

    def _ending(self) -> set[str]:
        """The rules that can come to an end."""
        users: dict[str, list[tuple[str, set[str]]]] = {}
        ending: set[str] = set()
        found: list[str] = []
        for rule in self._rules:
            for need in rule.needs:
                for name in need:
                    users.setdefault(name, []).append((rule.name, need))
                if not need:
                    found.append(rule.name)
        while found:
            name = found.pop()
            if name in ending:
                continue
            ending.add(name)
            for user, need in users.get(name, ()):
                need.discard(name)
                if not need:
                    found.append(user)
        return ending

    def _parse_rule(self) -> None:
        start = self._position
        name = self._take(_NAME)
        if name is None:
            raise self._fault("a rule's name is missing")
        self._skip(_BLANKS)
        if not self._literally("::="):
            raise self._fault("'::=' is missing")
        if name in self._defined:
            raise self._fault(f"the rule {name!r} is defined twice", start)
        self._defined.add(name)
        self._skip(_BLANK_LINES)
        self._parse_alternatives(self._rule(name), depth=0)
        if self._position < len(self._text) and self._peek() not in "\r\n":
            raise self._fault(f"{self._peek()!r} is not expected here")

    def _parse_alternatives(self, rule: _Rule, depth: int) -> None:
        while True:
            self._parse_sequence(rule, depth)
            if not self._literally("|"):
                return
            self._skip(_BLANK_LINES)

    def _parse_sequence(self, rule: _Rule, depth: int) -> None:
        symbols: list[str] = []
        needs: set[str] = set()
        blanks = _BLANK_LINES if depth else _BLANKS
        while (item := self._parse_item(depth)) is not None:
            symbol, need, weight = item
            self._skip(blanks)
            at_least = 1
            while (bounds := self._parse_bounds()) is not None:
                low, high = bounds
                at_least *= low
                weight *= max(low, high or 0, 1)
                if max(low, high or 0) > MAX_REPEAT or weight > MAX_SYMBOLS:
                    raise self._fault("something is repeated too often")
                symbol = f"({symbol}){{{low},{'' if high is None else high}}}"
                self._skip(blanks)
            symbols.append(symbol)
            if at_least:
                needs |= need
            rule.symbols += weight
            self._symbols += weight
            if self._symbols > MAX_SYMBOLS:
                raise self._fault(f"the grammar has more than {MAX_SYMBOLS:,} symbols")
        rule.alternatives.append(symbols)
        rule.needs.append(needs)

    def _parse_item(self, depth: int) -> tuple[str, set[str], int] | None:
        """One element of a sequence: its Lark symbol, the rules it needs, its size."""
        start = self._position
        name = self._take(_NAME)
        if name is not None:
            self._used.setdefault(name, start)
            symbol = self._rule(name).name
            return symbol, {symbol}, 1
        char = self._peek()
        if char == '"':
            self._position += 1
            return self._parse_literal()
        if char == "[":
            self._position += 1
            return self._parse_class(), set(), 1
        if char == ".":
            self._position += 1
            return self._terminal(f"[{_char(0)}-{_char(_LARGEST)}]"), set(), 1
        if char == "(":
            return self._parse_group(depth + 1)
        if char in ("<", "!"):
            raise self._fault("tokens in angle brackets are not supported")
        return None

    def _parse_group(self, depth: int) -> tuple[str, set[str], int]:
        if depth > MAX_DEPTH:
            raise self._fault(f"parentheses are nested more than {MAX_DEPTH} deep")
        self._position += 1
        self._skip(_BLANK_LINES)
        group = _Rule(f"g{len(self._rules)}")
        self._rules.append(group)
        self._parse_alternatives(group, depth)
        if not self._literally(")"):
            raise self._fault("')' is missing")
        return group.name, {group.name}, max(group.symbols, 1)

    def _parse_literal(self) -> tuple[str, set[str], int]:
        terminals = []
        while not self._literally('"'):
            terminals.append(self._terminal(f"[{_char(self._parse_char())}]"))
        return f"({' '.join(terminals)})" if terminals else '""', set(), max(len(terminals), 1)

    def _parse_class(self) -> str:
        start = self._position - 1
        negated = "^" if self._literally("^") else ""
        ranges = []
        while not self._literally("]"):
            low = high = self._parse_char()
            if self._peek() == "-" and self._text[self._position + 1 :][:1] != "]":
                self._position += 1
                high = self._parse_char()
            if high < low:
                raise self._fault("a range of characters runs backwards", start)
            ranges.append(f"{_char(low)}-{_char(high)}")
        if not ranges:
            raise self._fault("a class of characters is empty", start)
        return self._terminal(f"[{negated}{''.join(ranges)}]")

    def _parse_char(self) -> int:
        start = self._position
        char = self._next()
        if char != "\\":
            return self._scalar(ord(char), start)
        char = self._next()
        if char in _HEX:
            digits = self._text[self._position : self._position + _HEX[char]]
            self._position += len(digits)
            if not re.fullmatch(f"[0-9A-Fa-f]{{{_HEX[char]}}}", digits):
                raise self._fault(f"'\\{char}' needs {_HEX[char]} hexadecimal digits", start)
            return self._scalar(int(digits, 16), start)
        if char not in _ESCAPES:
            raise self._fault(f"'\\{char}' has no meaning", start)
        return ord(_ESCAPES[char])

    def _scalar(self, number: int, position: int) -> int:
        if number > _LARGEST or number in _SURROGATES:
            raise self._fault("a character does not exist in Unicode", position)
        return number

    def _parse_bounds(self) -> tuple[int, int | None] | None:
        """How often the element before is repeated: at least, and at most."""
        for sign, bounds in {"*": (0, None), "+": (1, None), "?": (0, 1)}.items():
            if self._literally(sign):
                return bounds
        if self._peek() != "{":
            return None
        found = _BOUNDS.match(self._text, self._position)
        if found is None:
            raise self._fault("a repetition is written {m}, {m,} or {m,n}")
        self._position = found.end()
        low = int(found[1])
        high = low if found[2] is None else None if found[3] is None else int(found[3])
        if high is not None and high < low:
            raise self._fault("a repetition's bounds are the wrong way round")
        return low, high

    def _rule(self, name: str) -> _Rule:
        rule = self._names.get(name)
        if rule is None:
            rule = self._names[name] = _Rule(f"r{len(self._rules)}")
            self._rules.append(rule)
        return rule

    def _terminal(self, pattern: str) -> str:
        return self._terminals.setdefault(pattern, f"C{len(self._terminals)}")

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _next(self) -> str:
        char = self._peek()
        if not char:
            raise self._fault("the grammar ends in the middle of characters")
        self._position += 1
        return char

    def _take(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self._text, self._position)
        if found is None:
            return None
        self._position = found.end()
        return found[0]

    def _skip(self, pattern: re.Pattern[str]) -> None:
        self._take(pattern)

    def _literally(self, text: str) -> bool:
        found = self._text.startswith(text, self._position)
        if found:
            self._position += len(text)
        return found

    def _fault(self, what: str, position: int | None = None) -> InvalidGrammar:
        line = self._text.count("\n", 0, self._position if position is None else position) + 1
        return InvalidGrammar(f"Line {line} of the grammar: {what}.")


def _char(number: int) -> str:
    return f"\\x{{{number:x}}}"
