"""The local door for PostgreSQL's clients, as far as it needs no gateway."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.broker.doors import Place, installed_doors, with_needs
from hoopgw.broker.running import BrokerLoop
from hoopgw.client.errors import NOT_YOURS, Refused
from hoopgw.client.values import Target, parse_caps
from hoopgw.events import Cap
from hoopgw_postgres import wire
from hoopgw_postgres.door import NEEDS, PORT, SESSIONS_LIMIT, PostgresDoor, service_file
from tests.client.family import Gateway
from tests.support.processes import free_port, wait_until

SSL_REQUEST = b"\0\0\0\x08" + wire.SSL_REQUEST.to_bytes(4, "big")
GSS_REQUEST = b"\0\0\0\x08" + wire.GSS_REQUEST.to_bytes(4, "big")


def startup(**parameters: str) -> bytes:
    """Return a StartupMessage."""
    body = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items())
    whole = wire.PROTOCOL_3_0.to_bytes(4, "big") + body + b"\0"
    return (len(whole) + 4).to_bytes(4, "big") + whole


class DoorTestCase(SynchronousTestCase):
    """A door that is open, to a gateway that does not answer."""

    def setUp(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="hg-door-")))
        gateway = Gateway(ca=None)
        target = Target(name="orders", protocol="postgres", host="127.0.0.1", port=free_port())
        self.stranger = False
        self.targets = [target]
        self.place = Place(
            folder=folder,
            uid=os.geteuid(),
            signer=gateway.child(gateway.login(), caps=parse_caps(["orders:*"])),
            targets=self.targets,
            accounts={"orders": "app_reader"},
            admit=self.admit,
            file_mode=0o600,
        )
        self.loop = self.enterContext(BrokerLoop())
        self.door = PostgresDoor()
        self.variables = self.loop.run(self.door.open(self.place), 20.0)
        self.addCleanup(lambda: self.loop.run(self.door.close(), 20.0))

    def admit(self, _connection: socket.socket) -> None:
        """Let all in, or nobody."""
        if self.stranger:
            raise Refused(NOT_YOURS, "not below")

    def connect(self) -> socket.socket:
        """Connect as a client."""
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.settimeout(60)
        client.connect(str(self.place.folder / f".s.PGSQL.{PORT}"))
        return client

    def says(self, *packets: bytes) -> bytes:
        """Send packets and return all that comes until the door closes."""
        client = self.connect()
        answer = b""
        try:
            for packet in packets:
                client.sendall(packet)
            while piece := client.recv(65536):
                answer += piece
        except (ConnectionResetError, BrokenPipeError):
            pass
        return answer

    def error(self, answer: bytes) -> dict[str, str]:
        """Read an ErrorResponse."""
        self.assertEqual(answer[:1], b"E")
        return wire.parse_report(answer[5:])


class OpeningTests(DoorTestCase):
    """What a client may begin with."""

    def test_encryption_is_declined(self) -> None:
        """It is the same machine; then the client goes on without."""
        answer = self.says(SSL_REQUEST, GSS_REQUEST, startup(user="a", database="billing"))
        self.assertEqual(answer[:2], b"NN")
        self.assertIn("billing", self.error(answer[2:])["M"])
        self.assertEqual(self.says(SSL_REQUEST, SSL_REQUEST, SSL_REQUEST), b"NNN")

    def test_a_target_that_was_not_delegated(self) -> None:
        """Named by the database, or by the user if there is none, as PostgreSQL does."""
        for packet in (startup(user="a", database="billing"), startup(user="billing")):
            error = self.error(self.says(packet))
            self.assertEqual((error["S"], error["C"]), ("FATAL", "42501"))
            self.assertIn("orders", error["H"])

    def test_an_account_that_is_not_there(self) -> None:
        """Who names none, or a wrong one, is told which there are."""
        several = attrs.evolve(self.targets[0], accounts=("reader", "app"))
        self.targets[:] = [several]
        for packet in (
            startup(user="ann", database="orders"),
            startup(user="ann~x", database="orders"),
        ):
            error = self.error(self.says(packet))
            self.assertEqual(error["C"], "42501")
            self.assertIn("app, reader", error["H"])
        error = self.error(self.says(startup(user="app~x", database="orders")))
        self.assertEqual(error["C"], "57P03")

    def test_no_gateway(self) -> None:
        """Is told as what it is."""
        error = self.error(self.says(startup(user="a", database="orders/archive")))
        self.assertEqual(error["C"], "57P03")

    def test_a_stranger(self) -> None:
        """Is refused in PostgreSQL's words, before anything is asked of the gateway."""
        self.stranger = True
        error = self.error(self.says(startup(user="a", database="orders")))
        self.assertIn("not below", error["M"])
        self.assertEqual(error["C"], "42501")

    def test_lengths(self) -> None:
        """What cannot be is not waited for."""
        for length in (0, 7, 10_001, 2**31):
            self.assertEqual(self.says(length.to_bytes(4, "big") + b"x" * 20), b"")

    @given(st.binary(max_size=40))
    def test_garbage(self, body: bytes) -> None:
        """Whatever comes, the door answers with an error, or nothing, and stays open."""
        client = self.connect()
        client.sendall((len(body) + 4).to_bytes(4, "big") + body)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while piece := client.recv(65536):
                answer += piece
        except ConnectionResetError:
            answer = b""
        client.close()
        self.assertIn(answer[:1], (b"", b"E", b"N"))


class LimitTests(DoorTestCase):
    """Many at once."""

    def test_silent_ones(self) -> None:
        """No more than so many are waited for; when they go, there is room."""
        made = [self.connect() for _ in range(SESSIONS_LIMIT + 20)]
        self.assertEqual(self.error(made[-1].recv(65536))["C"], "53300")
        for each in made:
            each.close()
        wait_until("room", lambda: self.says(startup(user="a", database="billing")) != b"")


class PlaceTests(DoorTestCase):
    """What the child is given."""

    def test_variables(self) -> None:
        """Where there is one choice it is made."""
        self.assertEqual(
            self.variables,
            {
                "PGHOST": str(self.place.folder),
                "PGPORT": "5432",
                "PGSERVICEFILE": str(self.place.folder / "pg_service.conf"),
                "PGPASSFILE": str(self.place.folder / "no-passwords"),
                "PGDATABASE": "orders",
                "PGUSER": "app_reader",
            },
        )

    def test_services(self) -> None:
        """Each target, and each with each account that is known."""
        several = [
            Target(name="a", protocol="postgres", host="h", port=1, accounts=("x", "y")),
            Target(name="b", protocol="postgres", host="h", port=1),
        ]
        text = service_file(attrs.evolve(self.place, targets=several, accounts={"a": "x"}))
        names = [line for line in text.splitlines() if line.startswith("[")]
        self.assertEqual(names, ["[a]", "[a.x]", "[a.y]", "[b]"])
        self.assertEqual(text.count("user=x"), 2)


class AnnouncedTests(SynchronousTestCase):
    """The door as others find it."""

    def test_it_is_installed(self) -> None:
        """By its protocol; nothing else needs to know PostgreSQL."""
        self.assertEqual(installed_doors()["postgres"].needs, NEEDS)

    def test_needs(self) -> None:
        """Are added where a cap names PostgreSQL's actions, and nowhere else."""
        caps = parse_caps(["orders:Postgres::read", "host:Ssh::exec", "all:*"])
        widened = with_needs(caps, installed_doors())
        assert widened is not None
        read = frozenset({"Postgres::read", *NEEDS})
        self.assertEqual(widened[0], Cap(target="orders", actions=read))
        self.assertEqual([cap.actions for cap in widened[1:]], [{"Ssh::exec"}, {"*"}])
        self.assertIsNone(with_needs(None, installed_doors()))
