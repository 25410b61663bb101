"""From the target's bytes to the gateway's, where a request may change the protocol.

Runs in the agent. Elsewhere answers pass without being looked at. Here each is read, for its status
and its end, and passed on as it came: whether what the gateway sends is HTTP is for the target to
say, with status 101, and to nobody else. So that no answer can be taken for that of another
request, there is one request at a time.

Reference: RFC 9110, section 7.8.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from hoopgw.http.client import ANSWER_LIMITS
from hoopgw.http.errors import UpstreamError, UpstreamMalformedError
from hoopgw.http.messages import ResponseHead
from hoopgw.http.wire import Buffer, End, ResponseReader
from hoopgw.transport import DataTransport


@define(eq=False, kw_only=True)
class Answers:
    """Follows the answers of a target, and passes them on."""

    near: DataTransport
    """To the gateway."""
    on_end: Callable[[], None]
    """Called when an answer is whole, after it was passed on."""
    on_change: Callable[[], None]
    """Called before the 101 is passed on: what comes after it is no HTTP."""
    on_broken: Callable[[UpstreamError], None]
    """Called when an answer cannot be followed; nothing is passed on from then."""
    begun: bool = field(default=False, init=False)
    """Whether a part of an answer has been passed on, and not all."""
    _reader: ResponseReader = field(
        factory=lambda: ResponseReader(ANSWER_LIMITS), init=False, repr=False
    )
    _changed: bool = field(default=False, init=False)
    _over: bool = field(default=False, init=False)

    @property
    def are_whole(self) -> bool:
        """Whether no answer is awaited."""
        return self._reader.is_whole

    def expect(self, method: str, *, upgrade: bool) -> None:
        """Await the answer to a request that will be sent next."""
        self._reader.expect(method, upgrade=upgrade)

    def stop(self) -> None:
        """Pass nothing on any more."""
        self._over = True

    def received(self, data: Buffer) -> None:
        """Take bytes from the target."""
        if self._over:
            return
        if self._changed:
            self.near.write(data)
            return
        self._reader.receive(data)
        try:
            ended = self._follow()
        except UpstreamError as error:
            self._over = True
            self.on_broken(error)
            return
        finally:
            self._reader.keep()
        if self._over:
            return  # that the protocol is changed came at the wrong time
        self.begun = not ended and not self._changed
        self.near.write(data)
        if ended:
            self.on_end()

    def _follow(self) -> bool:
        """Read what came; tell whether it ends an answer."""
        if self.are_whole:
            raise UpstreamMalformedError("the target answered before it was asked")
        while (event := self._reader.next_event()) is not None:
            if isinstance(event, ResponseHead) and event.status == 101:
                self._changed = True
                self.on_change()
                return False
            if isinstance(event, End):
                if self._reader.unread:
                    raise UpstreamMalformedError("the target answered twice")
                return True
        return False
