"""The transport: two of ours in memory, and peers that break the rules."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw_ssh import transport, wire
from hoopgw_ssh.ciphers import ClearSealer
from hoopgw_ssh.client import ClientTransport
from hoopgw_ssh.negotiation import AEAD, CTR, STRICT_CLIENT, STRICT_SERVER, Offer, parse_offer
from hoopgw_ssh.transport import HardenedTransport
from tests.ssh.pairs import USER_ALGORITHMS, Host, Notes, Pair, Pipe, messages


def disconnected(side: HardenedTransport) -> bool:
    """Whether a side has given up."""
    pipe: Pipe = side.transport
    return pipe.closed


class Unstrict(ClientTransport):
    """A client of before 2023."""

    def our_offer(self, theirs: Offer | None) -> Offer:
        """Do not speak of strictness."""
        offer = super().our_offer(theirs)
        return evolve(offer, kex=tuple(name for name in offer.kex if name != STRICT_CLIENT))


class OursTests(SynchronousTestCase):
    """Both sides are ours."""

    def test_the_best_there_is(self) -> None:
        """Post-quantum, authenticated, strict; and users' algorithms are told, not the hosts'."""
        pair = Pair().begin().run()
        choice = pair.client._choice
        assert choice is not None
        self.assertEqual(choice.kex, b"mlkem768x25519-sha256")
        self.assertIn(choice.cipher_up, AEAD)
        self.assertTrue(pair.client.strict and pair.server.strict)
        told = pair.client.peerExtensions[b"server-sig-algs"]
        self.assertEqual(told, b",".join(USER_ALGORITHMS))
        self.assertEqual(pair.client.sessionID, pair.server.sessionID)

    @settings(deadline=None, max_examples=25)
    @given(st.lists(st.binary(max_size=2_000), max_size=6), st.integers(1, 3_000))
    def test_pieces(self, sent: list[bytes], size: int) -> None:
        """However the bytes are cut, also into single ones, all messages come, in order."""
        pair = Pair().logged_in()
        for payload in sent:
            pair.client.sendPacket(60, payload)
            pair.server.sendPacket(61, payload)
        pair.run(size)
        self.assertEqual(messages(pair.server), [(60, payload) for payload in sent])
        self.assertEqual(messages(pair.client), [(61, payload) for payload in sent])

    def test_single_bytes_from_the_first_on(self) -> None:
        """The whole handshake, byte by byte."""
        pair = Pair().begin().run(1)
        self.assertFalse(pair.server.is_exchanging or pair.client.is_exchanging)

    def test_older_algorithms(self) -> None:
        """With curve25519 alone, and AES-CTR with a MAC."""
        pair = Pair()
        offer = Offer(
            kex=(b"curve25519-sha256",),
            host_keys=Host.algorithms,
            ciphers_up=CTR,
            ciphers_down=CTR,
            macs_up=(b"hmac-sha2-512-etm@openssh.com",),
            macs_down=(b"hmac-sha2-256-etm@openssh.com",),
        )
        self.patch(pair.client, "our_offer", lambda _theirs: offer)
        pair.logged_in()
        pair.client.sendPacket(60, b"x" * 30_000)
        self.assertEqual(messages(pair.run(999).server), [(60, b"x" * 30_000)])
        self.assertFalse(pair.server.strict)

    def test_answers_leave_in_one_piece(self) -> None:
        """What is sent while bytes are taken is one write."""
        pair = Pair().logged_in()
        service = pair.server.service
        self.patch(service, "packetReceived", lambda n, p: pair.server.sendPacket(n, bytes(p)))
        for number in range(20):
            pair.client.sendPacket(60, bytes([number]))
        before = pair.server.transport.writes
        pair.server.dataReceived(pair.client.transport.take())
        self.assertEqual(pair.server.transport.writes, before + 1)
        self.assertEqual(len(messages(pair.run().client)), 20)


class AgainTests(SynchronousTestCase):
    """Keys are exchanged again."""

    def setUp(self) -> None:
        self.pair = Pair().logged_in()

    def exchange(self, begin: HardenedTransport) -> None:
        """Let one side begin, while both have something to say."""
        keys = self.pair.client._sealer
        begin.sendKexInit()
        self.pair.client.sendPacket(60, b"meanwhile")
        self.pair.server.sendPacket(61, b"meanwhile")
        self.pair.run()
        self.assertIsNot(self.pair.client._sealer, keys)
        self.assertEqual(messages(self.pair.server)[-1], (60, b"meanwhile"))
        self.assertEqual(messages(self.pair.client)[-1], (61, b"meanwhile"))

    def test_either_side_may_begin(self) -> None:
        """And both at once."""
        for side in (self.pair.client, self.pair.server, self.pair.client):
            self.exchange(side)
        self.pair.server.sendKexInit()
        self.exchange(self.pair.client)

    def test_the_session_stays(self) -> None:
        """Its id is that of the first exchange, and nobody claims strictness again."""
        before = self.pair.server.sessionID
        self.exchange(self.pair.server)
        self.assertEqual(self.pair.server.sessionID, before)
        offer = parse_offer(self.pair.server.ourKexInitPayload[1:])
        self.assertNotIn(STRICT_SERVER, offer.kex)

    def test_by_volume(self) -> None:
        """After so many bytes, in either direction."""
        self.patch(transport, "REKEY_BYTES", 50_000)
        keys = self.pair.server._sealer
        for _ in range(60):
            self.pair.client.sendPacket(60, bytes(1_000))
        self.pair.run()
        self.assertIsNot(self.pair.server._sealer, keys)
        self.assertEqual(len(messages(self.pair.server)), 60)

    def test_by_count(self) -> None:
        """After so many packets."""
        self.patch(transport, "REKEY_PACKETS", 30)
        keys = self.pair.client._sealer
        for _ in range(40):
            self.pair.server.sendPacket(61, b"")
        self.pair.run()
        self.assertIsNot(self.pair.client._sealer, keys)

    def test_by_time(self) -> None:
        """After an hour."""
        keys = self.pair.client._sealer
        self.pair.clock.advance(transport.REKEY_SECONDS)
        self.pair.run()
        self.assertIsNot(self.pair.client._sealer, keys)

    def test_a_peer_that_never_finishes(self) -> None:
        """Is waited for, but not for ever, and what waits has a bound."""
        self.pair.server.sendKexInit()
        self.pair.server.transport.take()
        self.pair.clock.advance(transport.EXCHANGE_TIMEOUT)
        self.assertTrue(disconnected(self.pair.server))

        other = Pair().logged_in()
        other.server.sendKexInit()
        for _ in range(transport.WAITING_LIMIT // 30_000 + 1):
            other.server.sendPacket(61, bytes(30_000))
        self.assertTrue(disconnected(other.server))


class HostKeyTests(SynchronousTestCase):
    """Who the client speaks to."""

    def test_another_key(self) -> None:
        """Is refused, and nothing was begun."""
        pair = Pair(host=Host(pinned=Host().key)).begin().run()
        self.assertTrue(disconnected(pair.client))
        self.assertIsNone(pair.client.sessionID)

    def test_a_signature_by_another_key(self) -> None:
        """The host shows the right key, and does not have it."""
        host = Host()
        host.pinned = host.key
        impostor = Host().key
        self.patch(Host, "privateKeys", property(lambda _self: {b"ssh-ed25519": impostor}))
        pair = Pair(host=host).begin().run()
        self.assertTrue(disconnected(pair.client))


class OrderTests(SynchronousTestCase):
    """Messages that may not come when they come."""

    def injected(
        self, number: int, payload: bytes = b"", *, before: bool, pair: Pair | None = None
    ) -> Pair:
        """Put a message in clear into the client's first bytes."""
        pair = (pair or Pair()).begin()
        data = pair.client.transport.take()
        line = data.index(b"\n") + 1
        extra = ClearSealer().seal(bytes([number]) + payload, 0)
        where = line if before else len(data)
        pair.server.dataReceived(data[:where] + extra + data[where:])
        return pair

    def test_nothing_comes_before_the_keys(self) -> None:
        """A service and a log-in in clear, which Conch takes; and data of channels."""
        for number in (wire.SERVICE_REQUEST, 50, 60, 94, wire.EXT_INFO, wire.NEWKEYS):
            payload = wire.string(b"ssh-userauth") if number < 50 else b""
            for before in (True, False):
                pair = self.injected(number, payload, before=before)
                self.assertTrue(disconnected(pair.server), (number, before))
                self.assertIsNone(pair.server.service)

    def test_harmless_ones(self) -> None:
        """Terrapin's lever: with strict key exchange they end the connection as well."""
        for number in (wire.IGNORE, wire.UNIMPLEMENTED, wire.DEBUG):
            for before in (True, False):
                pair = self.injected(number, bytes(4) + wire.string(b""), before=before)
                self.assertTrue(disconnected(pair.server), (number, before))

    def test_without_strictness(self) -> None:
        """An old client may say them."""
        pair = Pair(client=Unstrict())
        self.injected(wire.IGNORE, wire.string(b"x"), before=True, pair=pair)
        self.assertFalse(disconnected(pair.server))

    def test_numbers_begin_again_at_new_keys(self) -> None:
        """With strict key exchange, in both directions, so that nothing can be shifted."""
        pair = Pair().begin().run()
        self.assertEqual(pair.client.outgoingPacketSequence, 0)
        self.assertEqual(pair.server.outgoingPacketSequence, 1)  # EXT_INFO

    def test_a_service_within_an_exchange(self) -> None:
        """After the peer's KEXINIT only the exchange goes on."""
        pair = Pair().logged_in()
        pair.client.sendKexInit()
        pair.client._keyExchangeState = pair.client._KEY_EXCHANGE_NONE
        pair.client.sendPacket(60, b"too early")
        pair.server.dataReceived(pair.client.transport.take())
        self.assertTrue(disconnected(pair.server))
        self.assertEqual(messages(pair.server), [])

    def test_a_second_service(self) -> None:
        """Would take the place of the first."""
        pair = Pair().logged_in()
        pair.client.requestService(Notes())
        pair.run()
        self.assertTrue(disconnected(pair.server))

    def test_a_third_offer(self) -> None:
        """KEXINIT while keys are exchanged."""
        pair = Pair().begin()
        data = pair.client.transport.take()
        pair.server.dataReceived(data + data[data.index(b"\n") + 1 :])
        self.assertTrue(disconnected(pair.server))

    def test_points_that_are_none(self) -> None:
        """And messages that end too soon: refused, and nothing is logged as our own failure."""
        for payload in (b"", wire.string(b""), wire.string(bytes(1_216)), wire.string(bytes(32))):
            pair = Pair().begin()
            hello = pair.client.transport.take()
            pair.server.dataReceived(hello)
            pair.server.dataReceived(ClearSealer().seal(b"\x1e" + payload, 1))
            self.assertTrue(disconnected(pair.server), len(payload))


class VersionTests(SynchronousTestCase):
    """The first line."""

    def test_what_is_no_ssh(self) -> None:
        """Ends at once, and is not kept."""
        for data in (b"GET / HTTP/1.1\r\n", b"SSH-1.5-old\r\n", b"x" * 300, b"SSH-2.0-\0\r\n"):
            pair = Pair().begin()
            pair.server.dataReceived(data)
            self.assertTrue(disconnected(pair.server), data)

    def test_a_greeting(self) -> None:
        """A server may say something first, but not without end."""
        pair = Pair().begin()
        pair.client.dataReceived(b"Welcome\r\nto us\r\n" + pair.server.transport.take())
        self.assertTrue(pair.client.gotVersion)
        pair = Pair().begin()
        for _ in range(100):
            pair.client.dataReceived(b"Welcome" * 30 + b"\r\n")
        self.assertTrue(disconnected(pair.client))

    def test_steering(self) -> None:
        """A client that has AES-GCM is offered nothing else; one that waits is not kept waiting."""
        pair = Pair().begin().run()
        self.assertEqual(parse_offer(pair.server.ourKexInitPayload[1:]).ciphers_up, AEAD)
        pair = Pair().begin()
        pair.client.transport.take()
        pair.clock.advance(transport.STEERING_PATIENCE)
        offer = parse_offer(pair.server.ourKexInitPayload[1:])
        self.assertEqual(offer.ciphers_up, (*AEAD, *CTR))

    def test_a_peer_that_says_nothing(self) -> None:
        """Is not kept."""
        pair = Pair().begin()
        pair.clock.advance(transport.EXCHANGE_TIMEOUT)
        self.assertTrue(disconnected(pair.server))
