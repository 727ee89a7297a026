from __future__ import annotations

import asyncio
import threading

import pytest

from localchat.tui.aside import aside


async def test_what_it_returns_and_raises() -> None:
    assert await aside(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await aside(lambda: 1 // 0)


async def test_its_thread_ends_with_the_process() -> None:
    assert await aside(lambda: threading.current_thread().daemon)


async def test_the_loop_goes_on_meanwhile() -> None:
    go = threading.Event()
    waiting = asyncio.create_task(aside(lambda: go.wait(30)))
    await asyncio.sleep(0)
    assert not waiting.done()
    go.set()
    assert await waiting


async def test_who_does_not_wait_any_more_is_not_told() -> None:
    go, told = threading.Event(), asyncio.Event()
    waiting = asyncio.create_task(aside(lambda: go.wait(30)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    failures: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context))
    go.set()
    await aside(told.set)
    await told.wait()
    assert failures == []


def test_an_answer_after_the_end_of_the_loop_is_nobodys() -> None:
    go = threading.Event()
    ended = threading.Event()

    def job() -> None:
        go.wait(30)
        ended.set()

    async def leave() -> None:
        waiting = asyncio.create_task(aside(job))
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(leave())
    go.set()
    assert ended.wait(10)
