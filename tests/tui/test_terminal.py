"""The chat screen as users meet it: the real command, the real model, a real terminal."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from localchat.paths import Paths
from localchat.store.records import Generation, NewConversation, NewMessage, Provenance
from localchat.store.store import Store
from tests.conftest import CommandRunner
from tests.tui.terminal import Terminal

READY = "ready"
# What leaves a terminal as it was found: the other screen, the mouse, pasted text, the cursor.
RESTORED = (b"\x1b[?1049l", b"\x1b[?1000l", b"\x1b[?2004l", b"\x1b[?25h")


@pytest.fixture(autouse=True)
def _one_thread(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine two threads that wait for each other are several times slower."""
    monkeypatch.setenv("LOCALCHAT_THREADS", "1")
    monkeypatch.setenv("LOCALCHAT_TEMPERATURE", "0")


def loaded(text: str) -> bool:
    return READY in text and "/8,192" in text


def test_ask_stop_branch_and_go_on_after_a_kill(installed_starter: Path, places: Paths) -> None:
    with Terminal() as at:
        at.until(loaded)
        at.type("Write a very long story.\r")
        at.until(lambda text: "generating" in text and "t/s" in text)
        at.type("\x1b")  # Esc
        at.until(lambda text: READY in text)
        at.type("\x12")  # Ctrl+R
        at.until(lambda text: "2/2" in text)
        at.until(lambda text: "generating" in text)
        at.signal(signal.SIGKILL)
        assert at.wait() == -signal.SIGKILL
    with Store.open(places) as store:
        latest = store.latest()
        assert latest is not None
        tree = store.tree(latest.id)
    assert [one.role for one in tree] == ["user", "assistant", "assistant"]
    assert [one.state for one in tree[1:]] == ["incomplete", "incomplete"]
    assert tree[1].content
    with Terminal("chat", "-c") as at:
        at.until(lambda text: loaded(text) and "Write a very long story" in text)
        at.type("\x0c")  # Ctrl+L: go on
        at.until(lambda text: "generating" in text)
        at.type("\x1b")
        at.until(lambda text: READY in text)
        at.type("\x11")  # Ctrl+Q
        assert at.wait() == 0
        assert all(mode in at.written for mode in RESTORED)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_restores_the_terminal_and_keeps_the_reply(
    installed_starter: Path, places: Paths, number: signal.Signals
) -> None:
    with Terminal() as at:
        at.until(loaded)
        at.type("Write a very long story.\r")
        at.until(lambda text: "generating" in text and "t/s" in text)
        at.signal(number)
        assert at.wait() == 128 + number
        assert all(mode in at.written for mode in RESTORED)
        assert b"Traceback" not in at.written
    with Store.open(places) as store:
        latest = store.latest()
        assert latest is not None
        reply = store.path(latest.id)[-1]
    assert reply.state == "incomplete"
    assert reply.content


def test_a_window_that_is_closed_keeps_the_reply(installed_starter: Path, places: Paths) -> None:
    with Terminal() as at:
        at.until(loaded)
        at.type("Write a very long story.\r")
        at.until(lambda text: "generating" in text and "t/s" in text)
        at.hang_up()
        assert at.wait() in (128 + signal.SIGHUP, -signal.SIGHUP)
    with Store.open(places) as store:
        latest = store.latest()
        assert latest is not None
        reply = store.path(latest.id)[-1]
    assert reply.state == "incomplete"
    assert reply.content


def test_without_a_terminal_it_says_what_to_type(localchat: CommandRunner) -> None:
    done = localchat("chat")
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr
    assert 'localchat "Why is the sky blue?"' in done.stderr
    assert done.stdout == ""


def test_a_terminal_that_can_do_nothing_is_refused() -> None:
    with Terminal("chat", env={"TERM": "dumb"}) as at:
        assert at.wait() == 2
        assert b"\x1b[?1049h" not in at.written


def test_any_size_at_any_time(installed_starter: Path) -> None:
    with Terminal() as at:
        at.until(loaded)
        at.type("Write a very long story.\r")
        at.until(lambda text: "generating" in text)
        for step in range(100):
            at.resize(1 + (step * 37) % 200, 1 + (step * 17) % 60)
            at.signal(signal.SIGWINCH)
        at.resize(100, 30)
        at.until(lambda text: "Write a very long" in text)
        at.type("\x11")
        assert at.wait() == 0
        assert b"Traceback" not in at.written


@pytest.mark.parametrize(
    "env", [{"NO_COLOR": "1"}, {"TERM": "linux", "COLORTERM": ""}, {"LC_ALL": "C"}]
)
def test_poorer_terminals(env: dict[str, str]) -> None:
    with Terminal("chat", env=env) as at:
        at.until(lambda text: "Type to find a model" in text)  # there is none yet
        if "NO_COLOR" in env:
            assert b"\x1b[38;2" not in at.written
        if env.get("TERM") == "linux":
            assert b"38;2;" not in at.written
            assert b"38;5;" not in at.written
        at.type("\x1b\x11")
        at.wait()


HOSTILE = (
    "\x1b]52;c;aGFja2Vk\x07\x1b[2J\x1b[31mred\x9b31m\x90q\x9c\u202egnp.exe\u2066x\x07\x08\x7f"
    "\x1b]8;;http://elsewhere\x1b\\click\x1b]8;;\x1b\\ [a link](http://elsewhere)"
    "\x1b]0;title\x07 seen"
)


def test_nothing_stored_can_command_the_terminal(places: Paths) -> None:
    with Store.open(places) as store:
        messages = (
            NewMessage("system", f"System {HOSTILE}"),
            NewMessage("user", f"Asked {HOSTILE}", 0),
            NewMessage(
                "assistant",
                f"# Told {HOSTILE}\n\n- {HOSTILE}\n\n```sh\n{HOSTILE}\n```\n"
                f"\n| {HOSTILE} | b |\n|-|-|\n",
                1,
                reasoning=f"Thought {HOSTILE}",
                state="failed",
                generations=(Generation(Provenance(HOSTILE), error=f"Failed {HOSTILE}"),),
            ),
        )
        title = f"Title {HOSTILE}"
        store.add([NewConversation(messages, title=title, settings={"model": f"m{HOSTILE}"})])
    with Terminal("chat", "-c", size=(160, 50)) as at:
        at.until(lambda text: "Fits this machine" in text)  # there is no such model
        at.type("\x1b\x11")
        at.wait()
    # Textual's own choice of a pointer for the mouse.
    written = re.sub(rb"\x1b]22;[a-z]*\x07", b"", at.written)
    for sequence in (b"\x1b]52", b"\x1b]8;", b"\x1b]0;", b"\x1b[2J\x1b[31m", b"\x07", b"\x7f"):
        assert sequence not in written
    for character in "\x90\x9b\x9c\u202e\u2066":
        assert character.encode() not in written


def test_what_is_typed_before_the_screen_is_ready_is_sent(installed_starter: Path) -> None:
    with Terminal() as at:
        at.until(lambda _: b"\x1b[?1049h" in at.written)
        at.type("Early words\r")
        at.until(lambda text: "▎ Early words" in text)
