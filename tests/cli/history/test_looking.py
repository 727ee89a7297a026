"""What list, show, tree, search and stats print."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from localchat.cli.history import list_conversations
from localchat.paths import Paths
from localchat.store.records import NewConversation, NewMessage
from localchat.store.store import Store
from tests.cli.terminal import on_terminal

from .conftest import MODEL, NOON, OLD, SKY, Add, Done, Runner, sky

pytestmark = pytest.mark.usefixtures("filled")

HOSTILE = "\x1b]52;c;x\x07\u202eevil\x85"


class TestList:
    def test_in_a_pipe(self, history: Runner) -> None:
        assert history("list") == Done(
            0,
            "5eaf  2023-11-15 12:00     6  tiny  Why is the sky blue?\n"
            "01d0  2023-10-06 12:00     2        An old question\n",
            "",
        )

    def test_a_part_of_it(self, history: Runner) -> None:
        done = history("list", "-n", "1")
        assert done.out.count("\n") == 1
        assert done.err == "These are 1 of 2. For more: --limit N\n"
        assert history("list", "--limit", "2").err == ""

    def test_for_programs(self, history: Runner) -> None:
        first, second = json.loads(history("list", "--json").out)
        assert first == {
            "id": SKY,
            "short_id": "5eaf",
            "title": "Why is the sky blue?",
            "model": "tiny",
            "created": NOON,
            "updated": NOON,
            "source": None,
            "messages": 6,
        }
        assert (second["id"], second["model"]) == (OLD, None)

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_by_day_on_a_terminal(self, add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setenv("TERM", "xterm")
        add(NewConversation((NewMessage("user", "Today's"),), "abcd" + "0" * 12))
        code, written = on_terminal("history", "list")
        assert code == 0
        lines = written.decode().split("\r\n")
        assert lines[0] == "\x1b[1mToday\x1b[0m"
        assert lines[1].split()[0] == "abcd"
        assert lines[3:5] == [
            "\x1b[1mWednesday, 15 November 2023\x1b[0m",
            "  5eaf  12:00     6  tiny  Why is the sky blue?",
        ]
        monkeypatch.setenv("NO_COLOR", "1")
        assert b"\x1b" not in on_terminal("history", "list")[1]

    def test_the_names_of_days(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(time, "time", lambda: NOON)
        day = list_conversations._day
        assert [day(NOON + 43_199), day(NOON - 43_200), day(NOON - 43_201)] == [
            "Today",
            "Today",
            "Yesterday",
        ]
        assert day(NOON - 86_400 - 43_201) == "Monday, 13 November 2023"
        assert day(1e300) == "?"

    def test_yesterday_may_have_had_23_hours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        monday = 1_679_869_800.0  # 2023-03-27 00:30; the clock was put on on Sunday
        monkeypatch.setattr(time, "time", lambda: monday)
        day = list_conversations._day
        assert [day(monday - hours * 3600) for hours in (1, 22)] == ["Yesterday", "Yesterday"]
        assert day(monday - 24 * 3600) == "Saturday, 25 March 2023"

    def test_hostile_names_obey_the_terminal_rules(self, history: Runner, add: Add) -> None:
        said = (NewMessage("user", HOSTILE), NewMessage("assistant", HOSTILE, 0))
        settings = {"model": HOSTILE * 20}
        add(NewConversation(said, "e" * 16, HOSTILE, True, NOON, settings=settings))
        for command in (
            ["list"],
            ["show", "e"],
            ["tree", "e"],
            ["search", "evil"],
            ["export", "e"],
        ):
            for flags in ([], ["--json"]):
                out = history(*command, *flags).out
                assert "evil" in out
                assert not {*out} & {"\x1b", "\x07", "\u202e", "\x85"}, command


class TestShow:
    def test_the_current_branch(self, history: Runner) -> None:
        assert history("show", "5e") == Done(
            0,
            "Why is the sky blue?\n5eaf · 2023-11-15 12:00 · 6 messages\n\n"
            "System #1\nBe brief.\n\n"
            "You #2\nWhy is the sky blue?\n\n"
            "Assistant #3 · tiny (branch 1 of 2)\nScattering.\n\n"
            "You #5 (branch 2 of 2)\nAnd at dusk?\n\n"
            "Assistant #7 · tiny (incomplete)\nRed\nlight\n",
            "",
        )

    def test_the_last_one(self, history: Runner) -> None:
        assert history("show") == history("show", "-") == history("show", SKY)

    def test_one_message(self, history: Runner) -> None:
        assert history("show", "5e", "--message", "6").out == (
            "Assistant #6 · tiny (branch 2 of 2, failed: The engine failed.)\n"
        )
        assert history("show", "5e", "--message", "3", "--reasoning").out == (
            "Assistant #3 · tiny (branch 1 of 2)\n| Hm.\n| Light.\nScattering.\n"
        )

    @pytest.mark.parametrize("number", ["8", "99"])  # 8 is in the other conversation
    def test_a_message_that_is_not_in_it(self, history: Runner, number: str) -> None:
        assert history("show", "5e", "--message", number) == Done(
            3,
            "",
            f"Error: The conversation 5eaf has no message #{number}.\n"
            "Try: localchat history tree 5eaf\n",
        )

    def test_as_it_was_sent(self, history: Runner) -> None:
        assert history("show", "5e", "--as-sent").out == (
            "For the reply #7 the model was shown:\n\n"
            "System #1\nBe brief.\n\n"
            "(2 messages left out: the context was full. In their place the model had this "
            "summary:)\nThey spoke of the sky.\n\n"
            "You #5\nAnd at dusk?\n"
        )
        assert history("show", "5e", "--as-sent", "--message", "3").out == (
            "For the reply #3 the model was shown:\n\n"
            "System #1\nBe brief.\n\nYou #2\nWhy is the sky blue?\n"
        )

    def test_as_it_was_sent_without_a_summary(self, history: Runner, add: Add) -> None:
        new = sky()
        last = new.messages[6]
        (generation,) = last.generations
        assert generation.trim
        generation = generation._replace(trim=generation.trim._replace(summary=None))
        messages = (*new.messages[:6], last._replace(generations=(generation,)))
        add(new._replace(messages=messages, id="f" * 16))
        out = history("show", "f", "--as-sent").out
        assert "\n\n(2 messages left out: the context was full.)\n\nYou #" in out

    def test_as_it_was_sent_with_other_instructions(self, history: Runner, add: Add) -> None:
        new = sky()
        (generation,) = new.messages[2].generations
        made = generation.provenance._replace(params={"system": "Be long."})
        reply = new.messages[2]._replace(generations=(generation._replace(provenance=made),))
        messages = (*new.messages[:2], reply)
        add(new._replace(messages=messages, id="f" * 16, leaf=2))
        assert history("show", "f", "--as-sent").out.split("shown:\n\n")[1] == (
            "System\nBe long.\n\nYou #11\nWhy is the sky blue?\n"
        )

    def test_as_it_was_sent_for_programs(self, history: Runner) -> None:
        told = json.loads(history("show", "5e", "--as-sent", "--json").out)
        assert told["messages"] == [
            {"role": "system", "content": "Be brief.", "ids": [1]},
            {"role": "user", "content": "And at dusk?", "ids": [5]},
        ]
        assert (told["reply"], told["dropped"], told["summary"]) == (
            7,
            [2, 3],
            "They spoke of the sky.",
        )

    def test_before_there_is_a_reply(self, history: Runner) -> None:
        told = history("show", "5e", "--as-sent", "--message", "2").out
        assert told == "System #1\nBe brief.\n\nYou #2\nWhy is the sky blue?\n"

    def test_for_programs(self, history: Runner) -> None:
        told = json.loads(history("show", "5e", "--json").out)
        assert (told["id"], told["title"]) == (SKY, "Why is the sky blue?")
        assert [one["id"] for one in told["messages"]] == [1, 2, 3, 5, 7]
        reply = told["messages"][2]
        assert (reply["parent"], reply["branch"], reply["branches"], reply["reasoning"]) == (
            2,
            1,
            2,
            "Hm.\nLight.",
        )
        assert reply["generations"][0]["params"] == {"temperature": 0.5}
        assert reply["generations"][0]["seed"] == 7
        assert told["messages"][4]["generations"][0]["trim"]["dropped"] == [2, 3]

    def test_what_is_being_written(self, history: Runner, places: Paths) -> None:
        with Store.open(places) as store:
            turn = store.start_turn(None, "Go on", provenance=MODEL)
            store.checkpoint(turn.reply, "So far")
            assert "(being written)\nSo far\n" in history("show").out
            state = json.loads(history("show", "--json").out)["messages"][-1]["state"]
            assert state == "generating"
        assert "(incomplete)\nSo far\n" in history("show").out


class TestTree:
    LINES = (
        "Why is the sky blue?\n"
        "● System #1: Be brief.\n"
        "● You #2: Why is the sky blue?\n"
        "├─● Assistant #3 · tiny (branch 1 of 2): Scattering.\n"
        "│ ├─○ You #4 (branch 1 of 2): And at night?\n"
        "│ └─● You #5 (branch 2 of 2): And at dusk?\n"
        "│   ● Assistant #7 · tiny (incomplete): Red light\n"
        "└─○ Assistant #6 · tiny (branch 2 of 2, failed: The engine failed.)\n"
    )

    def test_it_is_drawn(self, history: Runner) -> None:
        assert history("tree", "5e") == Done(0, self.LINES, "")

    def test_in_letters_where_there_are_no_lines(
        self, history: Runner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("localchat.cli.output.prepare", lambda: None)
        monkeypatch.setattr("localchat.cli.output._encoding", "latin-1")
        drawn = str.maketrans({"●": "*", "○": "o", "├": "|", "└": "`", "│": "|", "─": "-"})
        assert history("tree", "5e").out == self.LINES.translate(drawn)

    def test_for_programs(self, history: Runner) -> None:
        told = json.loads(history("tree", "5e", "--json").out)
        assert told["leaf"] == 7
        assert [one["id"] for one in told["messages"]] == [*range(1, 8)]
        assert [one["id"] for one in told["messages"] if one["is_current"]] == [1, 2, 3, 5, 7]
        assert told["messages"][5]["branches"] == 2

    def test_a_long_conversation_stays_in_its_column(self, history: Runner, add: Add) -> None:
        said = [NewMessage("user", f"{n}", n - 1 if n else None) for n in range(3000)]
        add(NewConversation(tuple(said), "f" * 16))
        lines = history("tree", "f").out.splitlines()
        assert len(lines) == 3001
        assert lines[-1].startswith("● You #")

    def test_deep_branches_do_not_fill_the_screen(self, history: Runner, add: Add) -> None:
        said = [NewMessage("user", "0")]
        for _ in range(300):
            last = len(said) - 1
            said += [NewMessage("user", "a", last), NewMessage("user", "b", last)]
        add(NewConversation(tuple(said), "f" * 16))
        lines = history("tree", "f").out.splitlines()
        assert len(lines) == 602
        assert lines[-1].startswith("...  ")
        assert max(map(len, lines)) < 100


class TestSearch:
    def test_in_a_pipe(self, history: Runner) -> None:
        done = history("search", "dusk")
        assert done == Done(
            0, "5eaf  2023-11-15  Why is the sky blue?\n  You #5: And at dusk?\n", ""
        )

    def test_all_words_in_any_order(self, history: Runner) -> None:
        assert history("search", "BLUE", "sky").out.count("#2") == 1
        assert history("search", '"blue sky"').out == ""
        assert history("search", '"is the sky"').out.count("#2") == 1

    def test_nothing(self, history: Runner) -> None:
        assert history("search", "submarine") == Done(0, "", "Nothing was found.\n")

    def test_a_title(self, history: Runner) -> None:
        history("rename", "01", "Submarines")
        assert history("search", "submarines").out == "01d0  2023-10-06\n  Submarines\n"

    def test_for_programs(self, history: Runner) -> None:
        (hit,) = json.loads(history("search", "scattering", "--json").out)
        (mark,) = hit["marks"]
        assert hit["snippet"][mark[0] : mark[1]] == "Scattering"
        assert (hit["message"], hit["role"], hit["conversation"]["short_id"]) == (
            3,
            "assistant",
            "5eaf",
        )

    def test_no_more_than_wanted(self, history: Runner) -> None:
        assert len(json.loads(history("search", "and", "-n", "1", "--json").out)) == 1

    @pytest.mark.parametrize(
        ("env", "is_bold"),
        [
            ({}, True),
            ({"NO_COLOR": "1"}, False),
            ({"NO_COLOR": ""}, True),
            ({"TERM": "dumb"}, False),
        ],
    )
    def test_bold_on_a_terminal(
        self,
        history: Runner,
        monkeypatch: pytest.MonkeyPatch,
        env: dict[str, str],
        is_bold: bool,
    ) -> None:
        monkeypatch.delenv("NO_COLOR", raising=False)
        for name, value in ({"TERM": "xterm"} | env).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("localchat.cli.output.is_terminal", lambda: True)
        written = history("search", "dusk", "at").out
        assert ("And \x1b[1mat\x1b[0m \x1b[1mdusk\x1b[0m?" in written) == is_bold
        assert ("And at dusk?" in written) != is_bold


def test_how_much_there_is(history: Runner) -> None:
    lines = history("stats").out.splitlines()
    assert lines[:3] == [
        "conversations  2",
        "messages       8",
        "tokens         0 generated here",
    ]
    assert lines[4:] == ["oldest         2023-10-06 12:00", "last used      2023-11-15 12:00"]
    told = json.loads(history("stats", "--json").out)
    assert (told["conversations"], told["oldest"], told["damaged"]) == (2, NOON - 40 * 86_400, [])


def test_looking_imports_nothing_that_takes_long() -> None:
    script = (
        "import sys\n"
        "from localchat.cli.main import run\n"
        "for words in ('list', 'show', 'tree', 'search sky', 'stats', 'export', 'export --json'):\n"
        "    assert run(['history', *words.split()]) == 0\n"
        "print(sorted({'pydantic', 'rich', 'llama_cpp', 'jinja2'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == b"[]"
