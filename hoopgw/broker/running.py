"""A broker's loop in a thread, beside a main thread that waits for a command and for signals."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from attrs import define, field

T = TypeVar("T")

STOP_PATIENCE: Final = 20.0
"""Seconds for the loop to end what it serves; then it is left behind, and ends with the process."""


@define(eq=False)
class BrokerLoop:
    """Runs coroutines for whoever enters it."""

    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.new_event_loop, init=False)
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> Self:
        """Start it."""
        self._thread = threading.Thread(target=self._loop.run_forever, name="broker", daemon=True)
        self._thread.start()
        return self

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine on the loop, and return or raise what it does.

        Raises:
            TimeoutError: it took longer than ``timeout`` seconds.

        """
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_PATIENCE)
        if not self._thread.is_alive():
            self._loop.close()
