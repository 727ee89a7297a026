"""How models are written, in lists of any width."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from localchat.tui.models import rows, telling
from localchat.tui.models.choices import Choice
from localchat.tui.models.downloads import Download
from localchat.tui.models.rows import Columns

LARGE = Choice(
    "qwen3-4b-instruct",
    parameters=4_022_468_096,
    quantization="Q4_K_M",
    size=2_497_280_256,
    context_length=40960,
    speed="~6.5",
    verdict="fits",
    recommended="It is the best.",
    licence_note="For research only.",
)
BARE = Choice("mine", is_installed=True)


def row(choice: Choice, width: int, *, is_current: bool = False, is_running: bool = False) -> str:
    columns = Columns.fitting((LARGE, BARE), width)
    return columns.row(choice, is_current=is_current, is_running=is_running).plain.rstrip()


class TestColumns:
    def test_a_wide_one_has_all(self) -> None:
        columns = Columns.fitting((LARGE, BARE), 90)
        assert columns.heading("Installed", is_first=True).plain == (
            "Installed            weights  quant       size  context  tokens/s"
        )
        assert columns.heading("Installed", is_first=False).plain.rstrip() == "Installed"
        assert row(LARGE, 90) == (
            "  qwen3-4b-instruct    4.0 B  Q4_K_M    2.5 GB      40k      ~6.5  recommended"
        )

    def test_what_there_is_no_room_for_goes(self) -> None:
        assert row(LARGE, 55) == "  qwen3-4b-instruct   2.5 GB      ~6.5  recommended"
        assert list(Columns.fitting((LARGE,), 64).widths) == ["quantization", "size", "speed"]
        assert row(LARGE, 1) == "  …  recommended"

    @pytest.mark.parametrize("width", range(36, 120, 3))
    def test_no_row_is_wider_than_it_may_be(self, width: int) -> None:
        assert cell_len(row(LARGE, width)) <= width
        assert cell_len(row(BARE, width, is_current=True)) <= width

    @pytest.mark.parametrize(
        ("choice", "marks", "end"),
        [
            (BARE, {"is_current": True}, "current"),
            (BARE, {"is_current": True, "is_running": True}, "running"),
            (Choice("x", kind="coder"), {}, "coder"),
            (Choice("x", kind="chat", verdict="tight"), {}, "tight"),
            (Choice("x", kind="coder", is_installed=True, verdict="tight"), {}, "coder"),
            (Choice("x", kind="chat"), {}, "x"),
        ],
    )
    def test_what_is_special_of_it(self, choice: Choice, marks: dict[str, bool], end: str) -> None:
        said = row(choice, 90, **marks)
        assert said.endswith(end)
        assert said.startswith("• ") == marks.get("is_current", False)

    def test_letters_that_were_looked_for(self) -> None:
        columns = Columns.fitting((LARGE,), 90)
        found = columns.row(LARGE, is_current=False, is_running=False, offsets=(0, 3, 99))
        marked = {span.start - 2 for span in found.spans if "underline" in str(span.style)}
        assert marked == {0, 3}

    def test_text_from_outside_stays_in_its_place(self) -> None:
        nasty = Choice("a\nb\x1b[31m[red]" + "x" * 99, quantization="\x1b]52;\nQQQQQQQQQ")
        columns = Columns.fitting((nasty,), 80)
        said = columns.row(nasty, is_current=False, is_running=False).plain
        assert "\n" not in said
        assert "\x1b" not in said
        assert "[red]" in said
        assert "  ]52; Q…  " in said
        assert cell_len(said.rstrip()) <= 80
        assert "\x1b" not in rows.facts(nasty)


class TestFacts:
    def test_all_that_is_known(self) -> None:
        assert rows.facts(LARGE) == (
            "4.0 B weights · Q4_K_M · 2.5 GB to download · context 40,960 · ~6.5 tokens/s\n"
            "It is the best.\nFor research only."
        )

    def test_little(self) -> None:
        assert rows.facts(BARE) == ""
        tight = Choice("x", size=1_000_000, is_estimated=True, reasons=("leaves 9 MB of memory",))
        assert rows.facts(tight) == "~1 MB to download · leaves 9 MB of memory"


class TestBelow:
    def test_lines_are_wrapped_below_the_name(self) -> None:
        found = rows.below([("one two three four", "bold"), ("", "dim")], 14)
        assert found.plain == "\n    one two\n    three four"

    def test_a_bar(self) -> None:
        download = Download("x")
        assert rows.bar(download).plain == "\n    " + "─" * 20
        download.progress(3, 4)
        assert rows.bar(download).plain == "\n    " + "━" * 15 + "─" * 5
        download.progress(9, 4)
        assert rows.bar(download).plain == "\n    " + "━" * 20


class TestTelling:
    def test_the_question_says_how_much_and_from_where(self) -> None:
        assert telling.question(LARGE, "") == [("Download 2.5 GB? This uses the network.", "bold")]
        guessed = Choice("x", size=1_000_000_000, is_estimated=True)
        ((said, _),) = telling.question(guessed, "the hub (a/b)")
        assert said == "Download about 1.0 GB from the hub (a/b)? This uses the network."
        ((said, _),) = telling.question(Choice("x"), "")
        assert said == "Download it? This uses the network."
