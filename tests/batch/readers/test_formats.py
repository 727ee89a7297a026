"""Inputs of all formats, whole and damaged, as records."""

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from localchat.batch.readers.lines import MAX_ROW
from localchat.batch.readers.source import Source
from localchat.batch.record import Record
from localchat.errors import InputError, UsageError


def read(path: Path, data: bytes | str, format_: Any = None) -> list[Record]:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    source = Source(str(path), format_)
    try:
        return list(source)
    finally:
        source.close()


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return tmp_path / "in.csv"


class TestJsonl:
    def test_objects_messages_and_texts(self, tmp_path: Path) -> None:
        rows = '{"a": 1}\n\n[{"role": "user", "content": "hi"}]\r\n"text"\n'
        assert read(tmp_path / "in.jsonl", rows) == [
            Record(1, {"a": 1}),
            Record(3, {"messages": [{"role": "user", "content": "hi"}]}),
            Record(4, {"text": "text"}),
        ]

    @pytest.mark.parametrize(
        ("row", "why"),
        [
            (b'{"a": ', "no JSON: Expecting value, column 6"),
            (b"12", "neither an object"),
            (b'{"a": NaN}', "NaN is no number"),
            (b'{"a": "\xff"}', r"not UTF-8 text \(its byte 8\)"),
            (b"[" * 100_000, "no JSON"),
            (b'{"a": ' + b"9" * 5000 + b"}", "no JSON that can be used"),
            (b'{"a": "\x00"}', "no JSON: Invalid control character"),
            (b'{"a": "' + b"x" * MAX_ROW + b'"}', "longer than 1 MiB"),
        ],
    )
    def test_a_bad_row_is_a_fault_between_good_ones(
        self, tmp_path: Path, row: bytes, why: str
    ) -> None:
        first, bad, last = read(tmp_path / "in.jsonl", b'{"a": 1}\n' + row + b'\n{"a": 2}\n')
        assert (first.columns, last.columns) == ({"a": 1}, {"a": 2})
        assert (bad.line, bad.columns, last.line) == (2, {}, 3)
        assert bad.fault.startswith("The row ")
        assert bad.fault.endswith(".")
        assert re.search(why, bad.fault)

    def test_the_first_row_tells_openai(self, tmp_path: Path) -> None:
        for first, format_ in (({"custom_id": "a", "body": {}}, "openai"), ({"a": 1}, "jsonl")):
            path = tmp_path / "in.jsonl"
            path.write_text(json.dumps(first) + "\n")
            source = Source(str(path))
            assert source.format == format_
            source.close()


class TestTable:
    def test_cells_keep_what_is_in_them(self, csv: Path) -> None:
        data = '\ufeffid,te xt\r\n1,"a ""b"", c"\r\n\r\n2,"two\nlines"\r\n3, x \r\n'
        assert read(csv, data) == [
            Record(2, {"id": "1", "te xt": 'a "b", c'}),
            Record(4, {"id": "2", "te xt": "two\nlines"}),
            Record(6, {"id": "3", "te xt": " x "}),
        ]

    def test_tabs(self, tmp_path: Path) -> None:
        assert read(tmp_path / "in.tsv", "a\tb\n1,5\t2\n") == [Record(2, {"a": "1,5", "b": "2"})]

    @pytest.mark.parametrize(
        ("row", "why"),
        [
            (b"1", "The row has 1 column, the header 2."),
            (b"1,2,3", "The row has 3 columns, the header 2."),
            (b'1,"a"b', "The row is no CSV: ',' expected after '\"'."),
            (b"1,\xff", "The row is not UTF-8 text."),
            (b"1,a\0b", "The row has a NUL byte, so it is no text."),
            (b"1," + b"x" * MAX_ROW, "The row is longer than 1 MiB."),
            (b'1,"never closed', "The row opens a quote that is not closed."),
        ],
    )
    def test_a_bad_row_is_a_fault_between_good_ones(self, csv: Path, row: bytes, why: str) -> None:
        records = read(csv, b"a,b\n1,2\n" + row + b"\n3,4\n5,6\n")
        assert records == [
            Record(2, {"a": "1", "b": "2"}),
            Record(3, {}, why),
            Record(4, {"a": "3", "b": "4"}),
            Record(5, {"a": "5", "b": "6"}),
        ]

    def test_a_quote_that_is_never_closed_takes_no_rows_with_it(self, csv: Path) -> None:
        """Neither where the file ends within it, nor where a row's bound is met."""
        row = "x" * 1000 + ",b\n"
        count = MAX_ROW // 1000 + 50
        records = read(csv, 'a,b\n"open,b\n' + row * count)
        assert [record.line for record in records] == list(range(2, count + 3))
        assert [record.line for record in records if record.fault] == [2]

    def test_a_long_cell_is_no_fault(self, csv: Path) -> None:
        (record,) = read(csv, "a\n" + "x" * (MAX_ROW - 1) + "\n")
        assert len(record.columns["a"]) == MAX_ROW - 1

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            ("", "has no header that can be read. It is empty"),
            ('"a,b\n1,2\n', "has no header that can be read. The row opens a quote"),
            ("a,b,a\n", "has two columns 'a'"),
        ],
    )
    def test_a_header_is_needed(self, csv: Path, data: str, why: str) -> None:
        with pytest.raises(InputError, match=why):
            read(csv, data)


class TestLines:
    def test_each_line_is_a_row(self, tmp_path: Path) -> None:
        data = b"\xef\xbb\xbfone\r\n\n two \nb\xff\nn\0l\nlast"
        assert read(tmp_path / "in.txt", data) == [
            Record(1, {"text": "one"}),
            Record(3, {"text": " two "}),
            Record(4, {}, "The row is not UTF-8 text (its byte 2)."),
            Record(5, {}, "The row has a NUL byte, so it is no text."),
            Record(6, {"text": "last"}),
        ]


class TestSource:
    def test_what_is_read_is_hashed_and_counted(self, tmp_path: Path) -> None:
        import hashlib

        path = tmp_path / "in.txt"
        data = b"\xef\xbb\xbfone\ntwo\n" + b"x" * (MAX_ROW + 10) + b"\nthree\n"
        path.write_bytes(data)
        source = Source(str(path))
        assert len(list(source)) == 4
        assert source.position == source.size == len(data)
        assert source.sha256 == hashlib.sha256(data).hexdigest()
        source.close()

    def test_rows_of_a_pipe_come_one_by_one(self, tmp_path: Path) -> None:
        path = tmp_path / "in.txt"
        os.mkfifo(path)
        writing = threading.Event()

        def write() -> None:
            with path.open("wb", buffering=0) as pipe:
                pipe.write(b"one\n")
                writing.wait(10)
                pipe.write(b"two\n")

        thread = threading.Thread(target=write)
        thread.start()
        source = Source(str(path))
        records = iter(source)
        assert next(records).columns == {"text": "one"}  # while the next is not written yet
        writing.set()
        assert next(records).columns == {"text": "two"}
        assert next(records, None) is None
        thread.join()
        source.close()

    def test_utf_16_is_refused_with_what_to_do(self, tmp_path: Path) -> None:
        path = tmp_path / "in.csv"
        with pytest.raises(InputError, match="is UTF-16") as caught:
            read(path, "a,b\n".encode("utf-16"))
        assert caught.value.hint is not None
        assert "iconv" in caught.value.hint

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"can't be read: No such file"):
            Source(str(tmp_path / "in.csv"))

    def test_an_ending_that_tells_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "in.dat").write_text("x\n")
        with pytest.raises(UsageError, match="doesn't say by its ending"):
            Source(str(tmp_path / "in.dat"))
        assert read(tmp_path / "in.dat", "x\n", "lines") == [Record(1, {"text": "x"})]

    def test_a_huge_line_is_never_held(self, tmp_path: Path) -> None:
        import tracemalloc

        path = tmp_path / "in.jsonl"
        with path.open("wb") as file:
            file.truncate(200 * 2**20)  # zeros without an end of line
            file.seek(0, 2)
            file.write(b'\n{"a": 1}\n')
        source = Source(str(path), "jsonl")
        tracemalloc.start()
        try:
            records = list(source)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            source.close()
        assert [record.fault for record in records] == ["The row is longer than 1 MiB.", ""]
        assert peak < 4 * 2**20
