"""Strangers who stand on the link's doorstep and say nothing."""

from __future__ import annotations

import contextlib
import socket
from contextlib import ExitStack

from hoopgw.link import gateway
from tests.link.link_case import LinkTestCase


class DoorstepTests(LinkTestCase):
    """They come from one address, and agents from others."""

    tcp = True

    def setUp(self) -> None:
        self.patch(gateway, "DOORSTEP_LIMIT", 12)
        self.patch(gateway, "DOORSTEP_LIMIT_ADDRESS", 6)
        super().setUp()

    def stranger(self, stack: ExitStack) -> None:
        """Connect from another address of this machine, and stay."""
        plain = stack.enter_context(socket.socket())
        plain.bind(("127.0.0.2", 0))
        plain.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            plain.connect((self.world.address.host, self.world.address.port))

    async def test_agents_still_come_in(self) -> None:
        with ExitStack() as stack:
            for _ in range(40):
                self.stranger(stack)
            await self.until(lambda: len(self.world.hub._doorstep) == 6)
            self.world.agent()
            opened, collector = await self.world.open()
            opened.leg.write(b"ping")
            self.assertEqual(await collector.until(4), b"ping")
