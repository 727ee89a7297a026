"""The parts of README.md that are generated from the code, so that they can't go stale."""

from __future__ import annotations

import inspect
import os
import tempfile

from click.testing import CliRunner

from localchat import config, errors
from localchat.cli.commands import group
from localchat.errors import LocalchatError
from localchat.paths import find
from localchat.registry.catalogue.listing import listing
from localchat.registry.catalogue.portrait import count
from localchat.tui.commands import TABLE
from localchat.tui.key_names import key_name
from localchat.tui.keys import groups


def help_text(*command: str) -> str:
    """What `localchat COMMAND --help` prints, as a Markdown block."""
    result = CliRunner().invoke(
        group, [*command, "--help"], prog_name="localchat", terminal_width=80
    )
    assert result.exit_code == 0, result.output
    return f"```text\n{result.output.rstrip()}\n```"


def settings() -> str:
    """A table of every setting, its default and its meaning."""
    defaults = config.Settings()
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for name, meaning in config.meanings().items():
        value = getattr(defaults, name)
        rows.append(f"| `{name}` | {'unset' if value is None else f'`{value}`'} | {meaning} |")
    return "\n".join(rows)


def chat_commands() -> str:
    """A table of the chat screen's commands."""
    rows = ["| command | what it does |", "|---|---|"]
    for one in TABLE.values():
        argument = one.argument.replace("|", "\\|")
        typed = f"/{one.name} {argument}".strip()
        rows.append(f"| `{typed}` | {one.meaning} |")
    return "\n".join(rows)


def chat_keys() -> str:
    """A table of the chat screen's keys."""
    rows = ["| where | keys | what they do | name in `[keys]` |", "|---|---|---|---|"]
    for group_ in groups({}):
        for action in group_.actions:
            pressed = ", ".join(map(key_name, action.keys))
            rows.append(f"| {group_.title} | {pressed} | {action.meaning} | `{action.id}` |")
    return "\n".join(rows)


def catalogue() -> str:
    """A table of the models in the catalogue."""
    with tempfile.TemporaryDirectory() as empty:
        os.environ["LOCALCHAT_HOME"] = empty
        models = listing(find())
    kinds = ("chat", "coder", "vision", "base", "embedding", "draft")
    rows = ["| name | for | weights | size | context | licence |", "|---|---|---|---|---|---|"]
    for model in sorted(models, key=lambda model: (kinds.index(model.kind), model.parameters)):
        if ":" in model.name:
            continue  # a further quantization: localchat models list has them
        size = f"{model.size / 1e6:,.0f} MB" if model.size else "?"
        rows.append(
            f"| `{model.name}` | {model.kind} | {count(model.parameters)}"
            f" | {size} ({model.quantization}) | {model.context_length:,} | {model.licence} |"
        )
    return "\n".join(rows)


def exit_codes() -> str:
    """A table of exit codes, out of the errors that carry them."""
    meanings = {0: "fine"}
    for line in (inspect.getdoc(errors) or "").splitlines():
        words = line.lstrip(" │├└─").split(maxsplit=2)
        if words and isinstance(getattr(errors, words[0], None), type):
            error = getattr(errors, words[0])
            assert issubclass(error, LocalchatError)
            assert str(error.exit_code) == words[1], f"{words[0]}: the tree and the class differ"
            meanings.setdefault(error.exit_code, words[2])
    meanings[141] = "the reader of a pipe went away; nothing is printed"
    rows = ["| code | meaning |", "|---|---|"]
    return "\n".join(rows + [f"| {code} | {text} |" for code, text in sorted(meanings.items())])


def show(text: str) -> None:
    """For cog: `text` between blank lines, as Markdown wants it."""
    print(f"\n{text}\n")
