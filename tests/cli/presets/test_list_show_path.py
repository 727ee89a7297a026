from __future__ import annotations

import json
from collections.abc import Callable

from localchat.paths import Paths
from localchat.presets.folder import find, write_own

Run = Callable[..., tuple[int, str, str]]

OWN = {
    "greedy": b'description = "mine \\u001b[31m"',
    "poet": b"system = 'Answer in rhyme.'",
    "wrong": b"# \xff\nsystem = 1",
}


def write(places: Paths) -> None:
    for name, text in OWN.items():
        write_own(name, text, places)


def test_the_list_has_shipped_ones_and_own_ones(run: Run, places: Paths) -> None:
    write(places)
    code, out, _ = run("list")
    rows = out.splitlines()
    assert code == 0
    assert rows[0] == "NAME            FROM     DESCRIPTION"
    assert (
        "creative        shipped  " + (find("creative", places).preset().description or "") in rows
    )
    assert "poet            own" in rows
    path = find("wrong", places).path
    assert any(row.startswith(f"wrong           own      {path} is not valid TOML") for row in rows)
    assert "greedy          own      mine" in out
    assert "\x1b" not in out


def test_the_list_as_json(run: Run, places: Paths) -> None:
    write_own("poet", OWN["poet"], places)
    write_own("wrong", b"system = 1", places)
    rows = {row["name"]: row for row in json.loads(run("list", "--json")[1])}
    path = str(find("wrong", places).path)
    assert rows["wrong"] == {
        "name": "wrong",
        "source": "own",
        "description": None,
        "path": path,
        "fault": f"{path} can't be used: 'system' must be a text, not 1.",
    }
    assert (rows["greedy"]["source"], rows["greedy"]["fault"]) == ("shipped", None)
    assert rows["greedy"]["description"]


def test_a_preset_is_shown_as_it_is_written(run: Run, places: Paths) -> None:
    write(places)
    assert run("show", "poet") == (0, "system = 'Answer in rhyme.'", "")
    assert run("show", "creative")[1] == find("creative", places).read().decode()


def test_what_is_wrong_with_a_preset_is_said_below_it(run: Run, places: Paths) -> None:
    write_own("wrong", b"system = 1\n", places)
    code, out, err = run("show", "wrong")
    path = find("wrong", places).path
    assert (code, out) == (2, "system = 1\n")
    assert err == (
        f"Error: {path} can't be used: 'system' must be a text, not 1.\n"
        "Try: localchat presets edit wrong\n"
    )
    assert run("show", "wrong", "--json")[:2] == (2, "")


def test_a_preset_as_json(run: Run, places: Paths) -> None:
    write(places)
    assert json.loads(run("show", "poet", "--json")[1]) == {
        "name": "poet",
        "description": None,
        "system": "Answer in rhyme.",
        "model": None,
        "reasoning": None,
        "sampling": {},
        "parameters": {},
        "source": "own",
        "path": str(places.presets / "poet.toml"),
    }
    found = json.loads(run("show", "translate", "--json")[1])
    assert found["parameters"] == {"language": "English"}
    assert found["source"] == "shipped"


def test_paths(run: Run, places: Paths) -> None:
    write(places)
    assert run("path") == (0, f"{places.presets}\n", "")
    assert run("path", "poet") == (0, f"{places.presets}/poet.toml\n", "")
    found = json.loads(run("path", "creative", "--json")[1])
    assert found == {"name": "creative", "path": str(find("creative", places).path)}


def test_what_there_is_not(run: Run) -> None:
    for command in ("show", "path", "rm"):
        assert run(command, "poem") == (
            2,
            "",
            "Error: There is no preset 'poem'.\nTry: localchat presets list\n",
        )
