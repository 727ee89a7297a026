from __future__ import annotations

import pytest

from localchat.errors import LocalchatError
from localchat.tui.chats.engines import Engine, Engines
from localchat.types import ModelRef
from tests.tui.paced import PacedClient


class Opened:
    """Opens engines, and counts them."""

    def __init__(self) -> None:
        self.clients: list[PacedClient] = []

    def __call__(self, name: str) -> Engine:
        if name == "missing":
            raise LocalchatError("There is no such model.")
        self.clients.append(PacedClient())
        return Engine(self.clients[-1], ModelRef(name, "/nowhere.gguf"))


def test_a_client_is_lent_to_one_at_a_time_and_then_again() -> None:
    opened = Opened()
    engines = Engines(opened)
    assert not engines.has("a")
    first, second = engines.lend("a"), engines.lend("a")
    assert first.client is not second.client
    assert not engines.has("a")
    engines.give_back("a", first)
    assert engines.has("a")
    assert engines.lend("a").client is first.client
    assert len(opened.clients) == 2


def test_each_model_has_clients_of_its_own() -> None:
    engines = Engines(Opened())
    engines.give_back("a", engines.lend("a"))
    assert not engines.has("b")
    assert engines.lend("b").model.name == "b"
    assert engines.has("a")


def test_one_whose_engine_is_gone_is_not_lent_again() -> None:
    opened = Opened()
    engines = Engines(opened)
    with engines.lent("a"):
        opened.clients[0].is_gone = True
    assert opened.clients[0].is_closed
    assert not engines.has("a")
    with engines.lent("a"):
        pass
    opened.clients[1].is_gone = True  # while nobody has it
    with engines.lent("a") as engine:
        assert engine.client is opened.clients[2]
    assert opened.clients[1].is_closed


def test_what_is_lent_for_a_block_is_given_back_whatever_happens() -> None:
    engines = Engines(Opened())
    with pytest.raises(ZeroDivisionError), engines.lent("a"):
        raise ZeroDivisionError
    assert engines.has("a")


def test_what_can_not_be_opened_is_told_and_not_kept() -> None:
    engines = Engines(Opened())
    with pytest.raises(LocalchatError, match="no such model"), engines.lent("missing"):
        raise AssertionError
    assert not engines.has("missing")


def test_engines_are_left_one_by_one_or_all() -> None:
    opened = Opened()
    engines = Engines(opened)
    for name in ("a", "b"):
        engines.give_back(name, engines.lend(name))
    engines.let_go("a")
    engines.let_go("a")
    assert [client.is_closed for client in opened.clients] == [True, False]
    engines.close()
    assert [client.is_closed for client in opened.clients] == [True, True]
    assert not engines.has("b")
