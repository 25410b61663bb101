"""Answers that go on as they come, as long as a lookout sees nothing that must be changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field

from hoopgw.http.messages import ResponseHead
from hoopgw.http.model import Lookout, Shown, Transform
from hoopgw.http.streams import Incoming, Outgoing
from hoopgw.http.wire import Buffer
from hoopgw.sessions.refusals import Refusal, RefusedError

WHOLE: Final = 16_384
"""Bytes of an answer that goes on in one piece: what TLS puts into one record."""
KEPT: Final = 2**20
"""Bytes that go on unread at most. They are kept, and read if what follows them must be."""


def at_once(shown: Shown, body: bytes) -> tuple[ResponseHead, bytes]:
    """Return head and body of a small answer all of which is here.

    Raises:
        RefusedError, DocumentError: it cannot be shown.

    """
    transform, lookout = shown.transform, shown.lookout
    if transform is None:
        return shown.head, body
    if lookout is not None and lookout.is_clear(body):
        return shown.untouched or shown.head, body
    changed = _changed(transform, body)
    return (changed == body and shown.untouched) or shown.head, changed


def _changed(transform: Transform, body: bytes) -> bytes:
    transform.receive_data(body)
    transform.receive_end()
    pieces = []
    while (piece := transform.next_piece()) is not None:
        pieces.append(piece)
    return b"".join(pieces)


@define(eq=False)
class Passed:
    """What of an answer went on unread, and must be read now."""

    pieces: list[bytes] = field(factory=list, repr=False)
    """What went on, from the beginning."""
    size: int = 0
    """Bytes of that."""
    rest: bytes = field(default=b"", repr=False)
    """What came, and did not go on."""
    _before: bytes = field(default=b"", init=False, repr=False)
    _compared: int = field(default=0, init=False)

    def behind(self, piece: bytes) -> bytes:
        """Return what of a piece, read now, did not go on before.

        Raises:
            RefusedError: what went on would be shown in another way now.

        """
        if self._compared == self.size:
            return piece
        if not self._compared:
            self._before = b"".join(self.pieces)
        again = piece[: self.size - self._compared]
        if not self._before.startswith(again, self._compared):
            text = "what was shown of the answer does not go with what follows it"
            raise RefusedError(Refusal(kind="withheld", text=text))
        self._compared += len(again)
        return piece[len(again) :]


async def relay_clear(
    source: Incoming,
    sink: Outgoing,
    lookout: Lookout,
    note: Callable[[Buffer], Buffer],
    passed: Passed,
) -> bool:
    """Relay an answer's body until something in it must be read; say whether there is.

    Args:
        source: the body.
        sink: where it goes.
        lookout: says what must be read.
        note: sees what goes on.
        passed: takes what goes on, and what must be read.

    Raises:
        UpstreamError: it did not come whole.

    """

    def stop_at(data: Buffer) -> bool:
        stops = passed.size + len(data) > KEPT or not lookout.is_clear(data)
        if passed.rest or stops:
            data = passed.rest + data
        left = len(data) if stops else lookout.undecided(data)
        passed.rest = bytes(data[len(data) - left :])
        if left:
            data = data[:-left]
        passed.size += len(data)
        passed.pieces.append(bytes(data))
        sink.write(note(data))
        return stops

    sink.throttle(source)
    sink.cork(True)
    source.on_dry = sink.flush
    try:
        if await source.pipe_until(stop_at):
            return True
        sink.write(note(passed.rest))
        return False
    finally:
        source.on_dry = None
        sink.throttle(None)
