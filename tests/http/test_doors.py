"""How many clients may be connected."""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.http.doors import DoorLimits, Doors
from hoopgw.http.server import ServerFactory
from tests.http.fakes import connect, echo


class DoorsTests(SynchronousTestCase):
    """Tests for `Doors`."""

    def test_limits(self) -> None:
        """Together, and from one address; who leaves makes room."""
        doors = Doors(DoorLimits(total=3, address=2))
        self.assertTrue(doors.enter("10.0.0.1"))
        self.assertTrue(doors.enter("10.0.0.1"))
        self.assertFalse(doors.enter("10.0.0.1"))
        self.assertTrue(doors.enter("10.0.0.2"))
        self.assertFalse(doors.enter("10.0.0.3"))
        doors.leave("10.0.0.1")
        self.assertTrue(doors.enter("10.0.0.3"))

    def test_one_network_is_one_address(self) -> None:
        """IPv6 counts by its network of 64 bits."""
        doors = Doors(DoorLimits(address=1))
        self.assertTrue(doors.enter("2001:db8::1"))
        self.assertFalse(doors.enter("2001:db8::2"))

    def test_a_server_keeps_them(self) -> None:
        """It refuses to talk at all, and counts who has gone."""
        factory = ServerFactory(echo, Clock(), doors=Doors(DoorLimits(address=1)))
        address = IPv4Address("TCP", "10.0.0.1", 1)
        first = factory.buildProtocol(address)
        self.assertIsNone(factory.buildProtocol(address))
        connect(first).lose()
        self.assertIsNotNone(factory.buildProtocol(address))
        self.assertEqual(len(factory.connections), 1)
