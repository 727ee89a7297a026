"""What a run writes, and what it leaves alone."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from localchat.errors import LocalchatError, OutOfSpace, UsageError
from tests.batch import Engine, answered, batch, begin, entries, lines, rows
from tests.store.watched import watched_disk

pytestmark = pytest.mark.usefixtures("home")


@pytest.mark.parametrize("in_order", [True, False])
def test_a_write_that_fails_leaves_the_old_output_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_order: bool
) -> None:
    table, out = tmp_path / "in.csv", tmp_path / "out.csv"
    table.write_text("text\none\n")
    batch(table, out)
    before = out.read_text()
    table.write_text("text\none\ntwo\n")
    run = begin(table, out, Engine(), in_order=in_order)

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("localchat.batch.output.os.fsync", fail)
        with pytest.raises(OutOfSpace, match="All rows that were finished before are safe"):
            answered(run)
    assert out.read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "in.csv",
        "out.csv",
    ]
    batch(table, out, in_order=in_order)
    assert "two,<two>," in out.read_text()


class TestOutput:
    def test_a_file_of_somebody_else_is_left_alone(self, table: Path, out: Path) -> None:
        out.write_text("mine")
        for restart in (False, True):
            with pytest.raises(UsageError, match="exists already, so it is left alone"):
                begin(table, out, Engine(), restart=restart)
        assert out.read_text() == "mine"

    def test_so_is_one_that_was_changed(self, table: Path, out: Path) -> None:
        batch(table, out)
        out.write_text(out.read_text() + "mine\n")
        for restart in (False, True):
            with pytest.raises(UsageError, match="was changed after the batch had written it"):
                begin(table, out, Engine(), restart=restart)
        assert out.read_text().endswith("mine\n")
        out.unlink()
        batch(table, out)
        assert len(rows(out)) == 5

    def test_a_file_that_was_growing_is_ours(self, table: Path, out: Path) -> None:
        """As a kill leaves it: rows torn, or more than the journal has."""
        with begin(table, out, Engine(), in_order=False) as run:
            run._output.begin(run._journal)
            with out.open("a") as file:
                file.write("0,t0,<t0>,\n1,t1,torn")
            run._output.finish = lambda *_, **__: None  # type: ignore[method-assign]
            run._output.close()
        batch(table, out, in_order=False)
        assert sorted(row["id"] for row in rows(out)) == ["0", "1", "2", "3", "4"]

    def test_a_link_is_followed(self, table: Path, out: Path) -> None:
        from localchat.batch import run

        real = out.with_name("real.csv")
        out.symlink_to(real)
        with pytest.raises(LocalchatError, match="no model called"):
            list(run(table, output=out, model="nothing"))
        assert not real.exists()

    def test_two_at_once_are_refused(self, table: Path, out: Path) -> None:
        with begin(table, out, Engine()):
            with pytest.raises(LocalchatError, match="Another localchat is working on") as caught:
                begin(table, out, Engine())
            assert caught.value.hint == f"localchat batch status {out}"
        batch(table, out)

    def test_a_folder_that_is_not_there(self, table: Path, tmp_path: Path) -> None:
        with pytest.raises(LocalchatError, match="Nothing can be written beside"):
            begin(table, tmp_path / "no" / "out.csv", Engine())

    def test_openai_output(self, tmp_path: Path) -> None:
        path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
        body = {"messages": [{"role": "user", "content": "hi"}]}
        good = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
        path.write_text(json.dumps(good) + "\n" + json.dumps({**good, "body": 1}) + "\n")
        batch(path, out)
        first, second = lines(out)
        assert (first["custom_id"], first["error"]) == ("a", None)
        assert first["id"].startswith("batch_req_")
        response = first["response"]
        assert response["status_code"] == 200
        assert response["request_id"].startswith("req_")
        assert response["body"]["object"] == "chat.completion"
        assert response["body"]["choices"] == [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "<hi>", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
                "seed": 7,
            }
        ]
        assert response["body"]["usage"]["total_tokens"] == 2
        assert second["response"] is None
        assert second["error"]["code"] == "UnusableRow"
        assert second["error"]["line"] == 2


class TestDisk:
    @pytest.mark.parametrize("room", [0, 1, 3, 8])
    def test_a_full_disk_loses_nothing(self, table: Path, out: Path, room: int) -> None:
        table.write_text("id,text\n" + "".join(f"{n},{'t' * 5000}{n}\n" for n in range(40)))
        kept: list[str] = []
        with watched_disk() as disk:
            run = begin(table, out, Engine(), concurrency=2)
            disk.room = room

            def keep() -> None:
                with run:
                    for group in run.groups():
                        kept.extend(one.row.custom_id for one in group)

            with pytest.raises(OutOfSpace, match="All rows that were finished before are safe"):
                keep()
            disk.room = None
            assert {entry.custom_id for entry in entries(out)} >= set(kept)
            batch(table, out)
        assert [row["id"] for row in rows(out)] == [str(n) for n in range(40)]
