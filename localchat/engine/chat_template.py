"""Renders a model's Jinja chat template: code from a file nobody here wrote, so it is bounded.

The sandbox keeps it from reaching Python; time, memory and output limits keep it from taking the
engine down. The names a template may use (`messages`, `add_generation_prompt`, `bos_token`,
`eos_token`, `raise_exception`, `strftime_now`, the `tojson` filter) are those of the transformers
library, for which templates are written.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import resource
import signal
import threading
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from localchat.errors import TemplateFailed
from localchat.types import Message

_TIME_LIMIT = 2.0  # seconds
_MEMORY_LIMIT = 512 * 2**20  # bytes beyond what the process has mapped
_OUTPUT_LIMIT = 2**20  # characters, beyond four times the conversation's own
_LARGEST_INTEGER = 2**64
_NO_VARIABLES: Mapping[str, object] = MappingProxyType({})


class _TooSlow(BaseException):
    """Not an Exception: a template's own code must not be able to swallow it."""


class _Refused(TemplateError):
    """The template called raise_exception: the conversation is not one it can render."""


class _Environment(ImmutableSandboxedEnvironment):
    # Powers and products of large integers run inside one C call that no time limit interrupts.
    intercepted_binops = frozenset(["**", "*"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * (right if operator == "**" else 1) + right.bit_length()
            if bits > _LARGEST_INTEGER.bit_length():
                raise TemplateError("an integer grew too large")
        return super().call_binop(context, operator, left, right)


class _Generation(Extension):
    """`{% generation %}`, with which templates mark what a model is trained on: only its body."""

    tags = {"generation"}  # noqa: RUF012 - as Extension has it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """A parsed template. Rendering must happen in the main thread (its time limit is SIGALRM)."""

    def __init__(self, source: str, *, bos: str, eos: str) -> None:
        """Raises TemplateFailed when `source` is no valid template."""
        environment = _Environment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", _Generation],
        )
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = lambda fmt: datetime.datetime.now().strftime(fmt)
        environment.filters["tojson"] = _to_json
        try:
            self._parsed = environment.parse(source)
            self.variables = _variables(self._parsed)
            """Names whose values the template takes from its caller, if it is given any."""
            self.strings = frozenset(
                node.value
                for node in self._parsed.find_all(nodes.Const)
                if isinstance(node.value, str)
            )
            """The texts that its expressions spell, which are what it compares values with."""
        except (TemplateError, RecursionError) as error:
            raise TemplateFailed(f"The model's chat template is not valid: {error}.") from error
        self.source = source
        self._environment = environment
        self._tokens = {"bos_token": bos, "eos_token": eos}

    def render(
        self, messages: tuple[Message, ...], variables: Mapping[str, object] = _NO_VARIABLES
    ) -> str:
        """The prompt for these messages, ready for the assistant's next reply.

        `variables` are more names that the template may use; those every template has stay.
        Templates that know no system role get its text in front of the first user message.
        Raises TemplateFailed when the template fails or exceeds a limit.
        """
        try:
            with _limits():
                try:
                    return self._run(messages, variables)
                except _Refused:
                    if messages[0].role != "system" or len(messages) < 2:
                        raise
                    return self._run(_without_system(messages), variables)
        except _TooSlow:
            reason = f"it ran for more than {_TIME_LIMIT:g} s"
        except MemoryError:
            reason = f"it needed more than {_MEMORY_LIMIT >> 20} MB"
        except RecursionError:
            reason = "it recursed too deeply"
        except Exception as error:  # a template can raise anything
            reason = str(error) or type(error).__name__
        raise TemplateFailed(
            f"The model's chat template can't be rendered: {reason}.",
            "Use --raw to send the prompt without a template.",
        )

    @functools.cached_property
    def _template(self) -> Template:
        """Compiled at the first rendering, under its limits: Jinja computes constants here."""
        return self._environment.from_string(self._parsed)

    def _run(self, messages: tuple[Message, ...], variables: Mapping[str, object]) -> str:
        limit = _OUTPUT_LIMIT + 4 * sum(len(message.content) for message in messages)
        plain = [{"role": message.role, "content": message.content} for message in messages]
        pieces = []
        length = 0
        for piece in self._template.generate(
            {**variables, **self._tokens, "messages": plain, "add_generation_prompt": True}
        ):
            length += len(piece)
            if length > limit:
                raise TemplateError(f"it printed more than {limit:,} characters")
            pieces.append(piece)
        return "".join(pieces)


def _variables(parsed: nodes.Template) -> frozenset[str]:
    read = {name.name for name in parsed.find_all(nodes.Name) if name.ctx == "load"}
    for statement in parsed.body:
        if isinstance(statement, nodes.Assign) and isinstance(statement.target, nodes.Name):
            name = statement.target.name
            # Set whatever the caller says, unless from what he says: {% set x = x or 1 %}.
            if all(used.name != name for used in statement.node.find_all(nodes.Name)):
                read.discard(name)
    return frozenset(read)


def _without_system(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    system, first, *rest = messages
    return (Message(first.role, f"{system.content}\n\n{first.content}"), *rest)


def _raise_exception(message: str) -> None:
    raise _Refused(message)


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    """Bounds time and address space. Both are the process's, so only one template runs at once."""
    assert threading.current_thread() is threading.main_thread()

    def stop(*_: object) -> None:
        raise _TooSlow

    old_handler = signal.signal(signal.SIGALRM, stop)
    old_limit = resource.getrlimit(resource.RLIMIT_AS)
    mapped = _mapped_bytes()
    try:
        if mapped is not None:
            soft = mapped + _MEMORY_LIMIT
            hard = old_limit[1]
            if hard != resource.RLIM_INFINITY:
                soft = min(soft, hard)
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        try:
            signal.setitimer(signal.ITIMER_REAL, _TIME_LIMIT)
            yield
        finally:  # of its own: the signal may arrive on this very line
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old_limit)
        signal.signal(signal.SIGALRM, old_handler)


def _mapped_bytes() -> int | None:
    """Address space in use, or None where the system does not say (then it is not bounded)."""
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 - read at every prompt
            return int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return None
