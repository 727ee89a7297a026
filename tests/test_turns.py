from __future__ import annotations

import fcntl
from pathlib import Path
from threading import Thread

from tests.conftest import wait_until
from tests.turns import locked, turn


def is_free(lock: Path) -> bool:
    try:
        with locked(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return True
    except BlockingIOError:
        return False


def test_who_is_alone_waits_for_all_and_all_for_who_is_alone(tmp_path: Path) -> None:
    order = []

    def take(name: str, *, alone: bool) -> None:
        with turn(tmp_path, alone=alone):
            order.append(name)

    waiting = Thread(target=take, args=("alone",), kwargs={"alone": True})
    late = Thread(target=take, args=("late",), kwargs={"alone": False})
    with turn(tmp_path, alone=False), turn(tmp_path, alone=False):
        waiting.start()
        wait_until(lambda: not is_free(tmp_path / "door.lock"))
        late.start()
        order.append("first")
    waiting.join()
    late.join()
    assert order == ["first", "alone", "late"]
