"""Pass one decided request on, and show its answer."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from attrs import define, field
from twisted.internet.task import deferLater

from hoopgw.errors import DocumentError, DocumentLimitError
from hoopgw.http.client import Call
from hoopgw.http.errors import UnansweredError
from hoopgw.http.exchange import Exchange
from hoopgw.http.looking import WHOLE, Passed, at_once, relay_clear
from hoopgw.http.messages import REASONS, ResponseHead
from hoopgw.http.model import (
    ITEMS,
    Caller,
    ExceededError,
    Lookout,
    Plan,
    Shown,
    Transform,
)
from hoopgw.http.paying import Till
from hoopgw.http.sessions import HttpSession
from hoopgw.http.streams import Outgoing, relay
from hoopgw.http.wire import Buffer, encode_response
from hoopgw.policy.decision import Sight, Sights
from hoopgw.sessions.journal import OUTPUT_LIMIT, Answered
from hoopgw.sessions.refusals import Refusal, RefusedError

_REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that are sent again if a connection ended without an answer: those that change nothing.

RFC 9110, 9.2.2, has PUT and DELETE, too. But whoever lost the answer may have done what was asked,
an approval is for one time, and a vault makes a new version of a secret with each PUT.
"""
_TURN: Final = 0.005
"""Seconds of masking after which others have their turn."""
_KEPT: Final = frozenset(
    {b"content-type", b"location", b"azure-asyncoperation", b"retry-after", b"x-ms-request-id"}
)
"""Fields of an answer that the recording keeps."""
_OUTCOMES: Final = {status: f"{status} {reason.decode()}" for status, reason in REASONS.items()}


@define(eq=False)
class Untouched:
    """Changes nothing. Implements `hoopgw.http.model.Transform`."""

    masked: int = 0
    counts: Mapping[str, int] = field(factory=dict)
    _pieces: deque[bytes] = field(factory=deque, init=False)

    def receive_data(self, data: bytes) -> None:
        """Take a piece."""
        self._pieces.append(data)

    def receive_end(self) -> None:
        """Take note of the end."""

    def next_piece(self) -> bytes | None:
        """Give it."""
        return self._pieces.popleft() if self._pieces else None


@define(eq=False)
class Answering:
    """One request on its way."""

    _session: HttpSession
    _exchange: Exchange
    _plan: Plan
    sights: Sights
    _caller: Caller
    _body: bytes | None = field(repr=False)
    """All of the request's, if it was collected."""
    _max_items: int | None = None
    """How many items of a list policy allows."""
    outcome: str = field(default="", init=False)
    _kept: bytearray = field(factory=bytearray, init=False, repr=False)
    _sent: int = field(default=0, init=False)
    _shown: Shown | None = field(default=None, init=False)
    _received: int = field(default=0, init=False)
    _hash: Any = field(factory=hashlib.sha256, init=False, repr=False)
    is_clear: bool = field(init=False)
    """Whether the caller sees what others do not: then the recording does not keep it."""

    def __attrs_post_init__(self) -> None:
        sights = [self.sights.get(each.id) for each in self._plan.fields]
        self.is_clear = any(isinstance(each, Sight) and each.mask is None for each in sights)

    async def run(self, begun: Call | None = None) -> None:
        """Send it, and give its answer to the client.

        Args:
            begun: the request to the target, if it is under way already.

        Raises:
            RefusedError: the answer may not be shown; it may have begun.
            LinkError, UnavailableError: the target cannot be reached, or breaks off.

        """
        call, is_first = await self._begin() if begun is None else (begun, False)
        try:
            head = await self._answer(call)
        except UnansweredError:
            call.close()
            if is_first or not self._may_repeat():
                raise
            # It was kept open since an earlier request, and closed just then.
            call, _ = await self._begin()
            head = await self._answer(call)
        try:
            await self._show(call, head)
        finally:
            call.close()

    def broke_off(self, why: str) -> None:
        """Take note that the client did not get all of the answer, or none."""
        if not self.outcome.startswith("CUT"):
            self.outcome = f"{why}, within {self.outcome}" if self.outcome else why

    def answered(self) -> Answered:
        """Return how it came out."""
        transform = None if self._shown is None else self._shown.transform
        return Answered(
            outcome=self.outcome,
            masked=0 if transform is None else transform.masked,
            sent=self._sent,
            output=bytes(self._kept),
            received=self._received,
            received_digest=self._hash.digest() if self._received else b"",
        )

    async def _begin(self) -> tuple[Call, bool]:
        """Send the head, and the body if all of it is here; say if on a new connection."""
        upstream = await self._session.connect()
        call = upstream.begin(self._session.with_host(self._plan.send), self._whole())
        if self._plan.follows:
            call.quiet = None
        return call, upstream.calls == 1

    def _may_repeat(self) -> bool:
        streamed = self._plan.body is None and self._body is None and self._received > 0
        return self._plan.send.method in _REPEATABLE and not streamed

    def _whole(self) -> bytes | int | None:
        """Return the body, or how long it will be."""
        if self._plan.body is not None:
            return self._plan.body
        if self._body is not None:
            return self._body
        ended = self._exchange.body.ended and not self._exchange.body.size
        return b"" if ended else self._exchange.head.content_length

    async def _answer(self, call: Call) -> ResponseHead:
        if not call.outgoing.done:
            call.send_from(self._exchange.body, self._count)
        return await call.answer()

    def _count(self, data: Buffer) -> Buffer:
        self._received += len(data)
        self._hash.update(data)
        return data

    async def _show(self, call: Call, head: ResponseHead) -> None:
        session = self._session
        self.outcome = outcome_of(head.status)
        purse = session.purse
        shown = session.site.model.show(
            self._plan,
            head,
            self.sights,
            self._caller,
            self._max_items,
            counted=purse is not None and purse.room("rows") is not None,
        )
        self._shown = shown
        if shown.lookout is not None and purse is None and self._show_at_once(call, shown):
            return
        self._kept += kept_head(shown.head)
        length = call.length if shown.transform is None else None
        outgoing = self._exchange.start(shown.head, length, later=True)
        if outgoing.done:  # to HEAD, or 204, or 304
            await call.body.pipe(lambda data: None)
            return
        listing = shown.listing
        till = Till(
            session.purse, listing, None if listing is None else session.lists.open(listing)
        )
        try:
            if till.is_needed or shown.transform is not None:
                lookout = None if till.is_needed else shown.lookout
                await self._through(call, outgoing, shown.transform or Untouched(), till, lookout)
            else:
                await relay(call.body, outgoing, self._note)
        finally:
            till.close()
        outgoing.finish()

    def _show_at_once(self, call: Call, shown: Shown) -> bool:
        """Show a small answer, if all of it is here; say whether. Raises `RefusedError`."""
        body = call.whole_body(WHOLE)
        if body is None:
            return False
        try:
            head, body = at_once(shown, body)
        except DocumentError as error:
            raise _withheld(error) from error
        call.end()
        self._kept += kept_head(head)
        outgoing = self._exchange.start(head, len(body), later=True)
        if not outgoing.done:
            outgoing.write(self._note(body))
            outgoing.finish()
        return True

    async def _through(
        self,
        call: Call,
        outgoing: Outgoing,
        transform: Transform,
        till: Till,
        lookout: Lookout | None,
    ) -> None:
        """Relay what a transform makes of the answer, in turns that keep nobody waiting."""
        passed = Passed()
        if lookout is not None and not await relay_clear(
            call.body, outgoing, lookout, self._note, passed
        ):
            return
        again = deque(filter(None, [*passed.pieces, passed.rest]))
        since = time.monotonic()
        ended = False
        call.body.on_dry = outgoing.flush  # the head does not wait for what has not come
        while not ended:
            data = again.popleft() if again else await call.body.read()
            ended = data is None
            _feed(transform, data)
            while (piece := _next_piece(transform)) is not None:
                piece = passed.behind(piece)
                await self._pay(till, len(piece), transform.counts.get(ITEMS, 0))
                outgoing.write(self._note(piece))
                await outgoing.drained()
                if time.monotonic() - since > _TURN:
                    await deferLater(self._session.clock, 0)
                    since = time.monotonic()

    async def _pay(self, till: Till, size: int, items: int) -> None:
        """Show no more than may be shown: a piece is paid for before. Raises `RefusedError`."""
        try:
            await till.pay(size, items)
        except ExceededError:
            raise
        except RefusedError as error:
            self.outcome = f"CUT: {error}"
            raise

    def _note(self, piece: Buffer) -> Buffer:
        """Count what is shown, and keep its beginning for the recording."""
        if self.is_clear and not self._sent:
            self._kept += b"<not kept: some of it is shown to few>"
        self._sent += len(piece)
        if self.is_clear:
            return piece
        left = OUTPUT_LIMIT - len(self._kept)
        if left > 0:
            self._kept += piece[:left]
        return piece


def outcome_of(status: int) -> str:
    """Return how an answer is called in the recording."""
    return _OUTCOMES.get(status) or str(status)


def kept_head(head: ResponseHead) -> bytes:
    """Return what the recording keeps of an answer's head."""
    return encode_response(head.status, head.headers.only(_KEPT), head.reason)


def _feed(transform: Transform, data: bytes | None) -> None:
    """Give a transform a piece, or the end; raise as `_next_piece`."""
    try:
        if data is None:
            transform.receive_end()
        else:
            transform.receive_data(data)
    except DocumentError as error:
        raise _withheld(error) from error


def _next_piece(transform: Transform) -> bytes | None:
    """Return what can be shown by now. Raises `RefusedError`: it may not be shown."""
    try:
        return transform.next_piece()
    except DocumentError as error:
        raise _withheld(error) from error


def _withheld(error: DocumentError) -> RefusedError:
    if isinstance(error, DocumentLimitError):
        return ExceededError(str(error))
    return RefusedError(Refusal(kind="withheld", text=str(error)))
