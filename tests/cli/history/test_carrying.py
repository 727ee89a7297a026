"""export and import."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localchat import snapshot_files
from localchat.cli.history import import_file
from localchat.errors import OutOfSpace
from localchat.paths import Paths
from localchat.store import merging
from localchat.store.records import NewConversation, NewMessage
from localchat.store.store import Store
from tests.conftest import CommandRunner

from .conftest import OLD, SKY, Add, Done, Runner

LINE = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}
EXPORTED = {
    "conversation_id": "c",
    "title": "From afar",
    "mapping": {
        "r": {"message": None, "children": ["u"]},
        "u": {
            "parent": "r",
            "message": {"author": {"role": "user"}, "content": {"parts": ["Hello"]}},
        },
    },
}
EXPORTED["mapping"]["u"]["message"]["content"]["content_type"] = "text"  # type: ignore[index]


@pytest.fixture(autouse=True)
def _open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def empty(places: Paths) -> None:
    """As on another machine."""
    shutil.rmtree(places.data)


@pytest.mark.usefixtures("filled")
class TestExport:
    def test_markdown_is_for_people(self, history: Runner) -> None:
        done = history("export")
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith(f"# Why is the sky blue?\n\n*2023-11-15, localchat {SKY}*\n")
        assert "## Assistant (tiny)\n\n> Hm.\n> Light.\n\nScattering.\n" in done.out
        assert "And at night?" not in done.out
        assert history("export", "--all").out.count("\n---\n") == 1

    def test_openai_is_a_line_each(self, history: Runner) -> None:
        first, second = history("export", "--all", "--format", "openai").out.splitlines()
        assert [one["role"] for one in json.loads(first)["messages"]] == [
            "system",
            "user",
            "assistant",
            "user",
            "assistant",
        ]
        assert json.loads(second) == {
            "messages": [
                {"role": "user", "content": "An old question"},
                {"role": "assistant", "content": "Yes."},
            ]
        }

    def test_batch_is_a_row_each(self, history: Runner, add: Add) -> None:
        add(NewConversation((NewMessage("system", "Nobody asks."),), "ab" * 8))
        exported = history("export", "--all", "--format", "batch").out.splitlines()
        first, second = map(json.loads, exported)
        assert first["custom_id"] == SKY + first["custom_id"][len(SKY) :]
        assert first["body"]["messages"][-1]["role"] == "user"
        assert second["body"]["messages"] == [{"role": "user", "content": "An old question"}]

    def test_json_comes_back_as_it_was(self, history: Runner, places: Paths) -> None:
        told = history("export", "--all", "--json").out
        assert told == history("export", "5e", "01", "--format", "json").out
        empty(places)
        file = places.config / "told.json"
        file.write_text(told)
        assert history("import", str(file)) == Done(0, "Imported 2 conversations.\n", "")
        assert history("export", "--all", "--json").out == told
        again = history("import", str(file), "--json")
        assert json.loads(again.out) == {
            "imported": [],
            "known": 2,
            "num_unread": 0,
            "unread": [],
        }
        assert history("import", str(file)).out == (
            "Imported 0 conversations; 2 were here already.\n"
        )

    def test_to_a_file_that_only_the_user_may_read(self, history: Runner, tmp_path: Path) -> None:
        file = tmp_path / "out.md"
        done = history("export", "5e", "01", "-o", str(file))
        assert done == Done(0, "", f"Wrote 2 conversations: {file}\n")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text() == history("export", "5e", "01").out
        file.chmod(0o644)
        history("export", "01", "-o", str(file))
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text() == history("export", "01").out
        assert [*tmp_path.glob(".*")] == []

    def test_hostile_texts_stay_harmless_in_a_file(
        self, history: Runner, add: Add, tmp_path: Path
    ) -> None:
        said = NewMessage("user", "\x1b[31m\u202e\x85evil")
        add(NewConversation((said,), "e" * 16))
        file = tmp_path / "out"
        for form in ("markdown", "json", "openai", "batch"):
            history("export", "e", "--format", form, "-o", str(file))
            text = file.read_text()
            assert "evil" in text
            assert not {*text} & {"\x1b", "\u202e", "\x85"}
            assert ("\\u202e" in text) == (form != "markdown")

    def test_a_file_appears_when_it_is_whole(
        self, history: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "out.md"
        file.write_text("before")

        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Store, "path", fail)
        assert history("export", "-o", str(file)).code == 1
        assert file.read_text() == "before"
        assert {*tmp_path.iterdir()} == {tmp_path / "home", file}

    def test_a_link_is_followed_and_a_device_stays_one(
        self, history: Runner, tmp_path: Path
    ) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "target")
        history("export", "-o", str(tmp_path / "link"))
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "target").read_text().startswith("# Why")
        os.mkfifo(tmp_path / "pipe")
        reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        assert history("export", "-o", str(tmp_path / "pipe")).code == 0
        assert os.read(reader, 100).startswith(b"# Why")
        os.close(reader)
        assert (tmp_path / "pipe").is_fifo()
        assert history("export", "-o", "-").out.startswith("# Why")

    def test_a_folder_that_is_not_there(self, history: Runner, tmp_path: Path) -> None:
        done = history("export", "-o", str(tmp_path / "no" / "out.md"))
        assert (done.code, done.out) == (1, "")

    def test_ids_beside_all(self, history: Runner) -> None:
        assert history("export", "--all", "5e").code == 2


class TestImport:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "file"

    def write(self, file: Path, *values: Any) -> None:
        file.write_text("\n".join(map(json.dumps, values)))

    def test_lines_of_messages(self, history: Runner, file: Path, places: Paths) -> None:
        self.write(file, LINE)
        assert history("import", str(file)).out == "Imported 1 conversation.\n"
        assert "You #1\nHi\n\nAssistant #2\nHo\n" in history("show").out
        assert stat.S_IMODE(places.history.stat().st_mode) == 0o600

    @pytest.mark.parametrize("how", ["file", "zip"])
    def test_what_another_program_exported(self, history: Runner, file: Path, how: str) -> None:
        text = json.dumps([EXPORTED, EXPORTED | {"conversation_id": "d"}])
        if how == "file":
            file.write_text(text)
        else:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("chat.html", "<html>")
                archive.writestr("export/conversations.json", text)
        told = json.loads(history("import", str(file), "--json").out)
        assert (len(told["imported"]), told["known"]) == (2, 0)
        (first, _) = json.loads(history("list", "--json").out)
        assert (first["title"], first["source"][:8]) == ("From afar", "chatgpt:")
        assert history("search", "afar").out

    def test_a_bad_one_is_named_and_the_others_are_there(self, history: Runner, file: Path) -> None:
        self.write(file, LINE, {"messages": [{"role": "\x1b[31m"}]}, EXPORTED)
        done = history("import", str(file))
        assert done == Done(
            1,
            "Imported 2 conversations.\n",
            "Conversation 2 has a message of an unknown role: [31m.\n"
            "Error: 1 of 3 conversations could not be imported.\n",
        )
        told = history("import", str(file), "--json")
        assert told.code == 1
        assert json.loads(told.out) == {
            "imported": [],
            "known": 2,
            "num_unread": 1,
            "unread": [{"number": 2, "reason": "has a message of an unknown role: \x1b[31m"}],
        }

    def test_many_bad_ones_are_counted(self, history: Runner, file: Path) -> None:
        self.write(file, LINE, *[{}] * 30)
        done = history("import", str(file))
        assert done.err.count("is in no format that can be imported.\n") == 20
        assert "More can't be imported; --json names them.\n" in done.err
        assert done.err.endswith("Error: 30 of 31 conversations could not be imported.\n")

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "."),
            (b"Dear diary,\nI\n", ": the first one is no JSON"),
            (b"\xff\xfe[\0]\0", ": the first one is no JSON"),
            (b"{}", ": the first one is in no format that can be imported."),
            (b"word\n" * 5000, ": the first one is no JSON"),
        ],
    )
    def test_a_file_without_any(
        self, history: Runner, file: Path, places: Paths, content: bytes, reason: str
    ) -> None:
        file.write_bytes(content)
        done = history("import", str(file))
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(
            f"Error: {file} has no conversation that can be imported{reason}"
        )
        assert len(done.err.splitlines()) == 2
        assert not places.history.exists()

    def test_it_gives_up_early(self, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
        looked = []

        class Lines(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                looked.append(size)
                return b"x\n" * 50 if len(looked) < 100 else b""

        taken = import_file._Import(file, None)  # type: ignore[arg-type]
        with pytest.raises(Exception, match="no conversation"):
            taken.run(Lines(), "auto")
        assert len(looked) < 5

    def test_a_format_that_was_named(self, history: Runner, file: Path) -> None:
        self.write(file, LINE)
        done = history("import", str(file), "--format", "chatgpt")
        assert "can't be understood at mapping" in done.err
        assert history("import", str(file), "--format", "openai").code == 0

    @pytest.mark.parametrize("name", ["gone", "folder", "archive", "cut", "locked"])
    def test_what_can_not_be_opened(
        self, history: Runner, tmp_path: Path, places: Paths, name: str
    ) -> None:
        path = tmp_path / name
        if name == "folder":
            path.mkdir()
        elif name != "gone":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                inner = "x.json" if name == "archive" else "conversations.json"
                archive.writestr(inner, json.dumps([EXPORTED]) + " " * 5000)
        data = bytearray(path.read_bytes()) if path.is_file() else bytearray()
        if name == "cut":
            data[60:70] = bytes(10)
            path.write_bytes(data)
        elif name == "locked":
            for place in (6, data.index(b"PK\x01\x02") + 8):
                data[place] |= 1
            path.write_bytes(data)
        done = history("import", str(path))
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("Error: ")
        assert str(path) in done.err
        assert not places.history.exists()

    def test_from_standard_input(self, localchat: CommandRunner) -> None:
        done = localchat("history", "import", "-", stdin=json.dumps(LINE))
        assert (done.returncode, done.stdout) == (0, "Imported 1 conversation.\n")

    def test_without_anything_on_standard_input(self, history: Runner) -> None:
        assert history("import", "-") == Done(
            2, "", "Error: There is no file to read.\nTry: localchat history import FILE\n"
        )

    @pytest.mark.usefixtures("filled")
    def test_one_that_was_deleted_is_kept_by_engines_again(
        self, history: Runner, file: Path, places: Paths
    ) -> None:
        file.write_text(history("export", "--all", "--json").out)
        history("rm", "-y", "5e", "01")
        assert len(snapshot_files.forgotten(places.snapshots)) == 2
        assert history("import", str(file)).code == 0
        assert snapshot_files.forgotten(places.snapshots) == {}
        assert {one["id"] for one in json.loads(history("list", "--json").out)} == {SKY, OLD}

    def test_what_was_added_before_the_disk_was_full_is_told(
        self, history: Runner, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(merging, "_MOST", 1)
        add = Store.add

        def full(store: Store, new: Any) -> list[str | None]:
            if store.stats().conversations == 2:
                raise OutOfSpace("There is no room left.")
            return add(store, new)

        monkeypatch.setattr(Store, "add", full)
        self.write(file, *({"messages": [{"role": "user", "content": f"{n}"}]} for n in range(4)))
        done = history("import", str(file))
        assert done.code == 5
        assert done.err == (
            "Before this, 2 conversations were imported.\nError: There is no room left.\n"
        )
        assert len(json.loads(history("list", "--json").out)) == 2
