"""Work that takes time, in a thread that nobody waits for when the screen is left."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


async def aside(job: Callable[[], _T]) -> _T:
    """What `job` returns, or raises.

    Its thread ends with the process: what may take seconds, such as asking an engine that hangs,
    does not hold up leaving. Those of `asyncio.to_thread` are waited for.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if answer.done():  # nobody wants it any more
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: _T | None = None
        error: BaseException | None = None
        try:
            result = job()
        except BaseException as raised:  # it is raised where the answer is awaited
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: the screen is gone
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, daemon=True).start()
    return await answer
