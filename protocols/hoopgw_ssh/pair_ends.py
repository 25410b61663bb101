"""What hands the events of a channel to the pair that it is one end of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from hoopgw_ssh.channels import Channel, Request
from hoopgw_ssh.wire import Bytes

if TYPE_CHECKING:
    from hoopgw_ssh.relay import Pair


@define(eq=False)
class PairEnd:
    """Hands what comes at one end to the pair. Implements `hoopgw_ssh.channels.ChannelTaker`."""

    pair: Pair = field(repr=False)
    asks: bool
    """Whether it is the end of who wanted the channel."""

    @property
    def _end(self) -> Channel:
        end = self.pair.asker if self.asks else self.pair.other
        assert end is not None
        return end

    def confirmed(self, extra: bytes) -> None:
        """Take note."""
        self.pair.confirmed(extra)

    def refused(self, code: int, text: bytes) -> None:
        """Take note."""
        self.pair.refused(code, text)

    def data(self, data: Bytes, code: int | None) -> None:
        """Take bytes."""
        self.pair.data(self._end, data, code)

    def request(self, request: Request) -> None:
        """Take a request."""
        self.pair.asked(self._end, request)

    def eof(self) -> None:
        """Take note."""
        self.pair.eof(self._end)

    def closed(self) -> None:
        """Take note."""
        self.pair.closed(self._end)
