"""The agent's PostgreSQL leg, against real servers and against some that are none."""

from __future__ import annotations

import os
import pwd
import shutil
import ssl
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock

from hoopgw.errors import UnavailableError
from hoopgw.spi import AgentContext, AgentTarget, Opened
from hoopgw.transport import Address, listen
from hoopgw_postgres import wire
from hoopgw_postgres.agent import LOGIN_TIMEOUT, make_target_leg
from tests.link.world import World
from tests.postgres.agent_case import Answers, LegTestCase, ScriptedServers, giving
from tests.support.certificates import Authority
from tests.support.postgres import PASSWORD, SUPERUSER, Server, Version, shared, start
from tests.support.waiting import eventually


class RealServerTests(LegTestCase):
    version: ClassVar[Version] = 15
    tls = True

    def setUp(self) -> None:
        super().setUp()
        self.server = shared.get(self.version, tls=self.tls)

    async def test_it_logs_in_over_tcp(self) -> None:
        opened = await self.open(self.target_at(self.server))
        parameters = opened.facts["parameters"]
        self.assertEqual(parameters["server_version"].split(".")[0], str(self.version))
        self.assertEqual(parameters["client_encoding"], "UTF8")
        self.assertIn(b"it works", await self.ask(opened, "SELECT 'it works'"))
        encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        self.assertIn(b"t" if self.tls else b"f", (await self.ask(opened, encrypted))[-30:])

    async def test_it_logs_in_over_a_unix_socket(self) -> None:
        path = self.server.folder / f".s.PGSQL.{self.server.port}"
        opened = await self.open(self.target(f"unix:{path}"))
        self.assertIn(b"it works", await self.ask(opened, "SELECT 'it works'"))

    async def test_settings_arrive(self) -> None:
        opened = await self.open(
            self.target_at(self.server),
            settings={"application_name": "shop", "TimeZone": "Asia/Tokyo"},
        )
        self.assertIn(b"shop", await self.ask(opened, "SHOW application_name"))
        self.assertIn(b"Asia/Tokyo", await self.ask(opened, "SHOW timezone"))

    async def test_read_only_holds_until_it_is_switched_off(self) -> None:
        """What the floor's ``read-only`` is, and what it is not."""
        opened = await self.open(self.target_at(self.server), read_only=True)
        make = "CREATE TABLE should_not_be(); DROP TABLE should_not_be"
        self.assertIn(b"25006", await self.ask(opened, make))
        await self.ask(opened, "SET default_transaction_read_only = off")
        self.assertNotIn(b"25006", await self.ask(opened, make))

    async def test_a_wrong_password_is_told_as_such(self) -> None:
        target = self.target_at(self.server)
        wrong = self.target(target.address, {SUPERUSER: b"wrong"}, **target.options)
        self.assertIn("28P01", await self.refused(wrong))
        unknown = self.target(target.address, {"nobody_here": b"wrong"}, **target.options)
        self.assertIn("28P01", await self.refused(unknown, "nobody_here"))

    async def test_a_missing_database_is_told_as_such(self) -> None:
        text = await self.refused(self.target_at(self.server), database="not_there")
        self.assertIn("3D000", text)

    async def test_the_targets_own_database_is_the_default(self) -> None:
        opened = await self.open(self.target_at(self.server, database="template1"), database="")
        self.assertIn(b"template1", await self.ask(opened, "SELECT current_database()"))

    async def test_cancel_stops_what_runs(self) -> None:
        opened = await self.open(self.target_at(self.server))
        answers = Answers()
        answers.take(opened.transport)
        opened.transport.write(wire.query(b"SELECT pg_sleep(60)"))
        with self.server.connect() as connection:
            running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%%pg_sleep(60)'"

            def runs() -> bool:
                row = connection.execute(running + " AND pid <> pg_backend_pid()").fetchone()
                return row is not None and row[0] == 1

            await eventually(self.reactor, runs)
        await opened.cancel()
        await eventually(self.reactor, lambda: answers.is_done)
        self.assertIn(b"57014", answers.data)

    async def test_through_the_link_as_a_whole(self) -> None:
        world = World(self.reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(world.stop()))
        agent = world.agent()
        agent.opener.legs["echo"] = self.leg  # type: ignore[index]  # it is a dict
        target = self.target_at(self.server)
        agent.opener.targets["orders"] = AgentTarget(  # type: ignore[index]  # it is a dict
            name="orders",
            protocol="echo",
            address=target.address,
            accounts={"reader": giving(PASSWORD.encode())},
            options={**target.options, "auth": {}},
        )
        with self.server.connect() as connection:
            connection.execute("DROP ROLE IF EXISTS reader")
            connection.execute(f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'".encode())
        found, _ = await world.open(wishes={"database": "postgres"})
        answers = Answers()
        found.leg.protocol = answers
        found.leg.write(wire.query(b"SELECT 'through the link'"))
        await eventually(self.reactor, lambda: answers.is_done)
        self.assertIn(b"through the link", answers.data)
        self.assertEqual(found.facts["parameters"]["is_superuser"], "off")
        self.assertNotIn(PASSWORD, repr(found))


class NewerServerTests(RealServerTests):
    version = 17


class NewestServerTests(RealServerTests):
    version = 18
    tls = False

    async def test_a_server_without_tls_is_refused_unless_named(self) -> None:
        target = self.target(f"127.0.0.1:{self.server.port}")
        self.assertIn("offers no TLS", await self.refused(target))


_HBA = """
hostssl all cert_user all cert
host all md5_user all md5
host all clear_user all password
host all trusted_user all trust
local all peer_user peer map=agents
host all all all scram-sha-256
local all all scram-sha-256
"""


class OtherLoginTests(LegTestCase):
    """One server that asks each account for something else."""

    server: ClassVar[Server | None] = None
    place: ClassVar[Path]
    clients: ClassVar[Authority]

    @classmethod
    def setUpClass(cls) -> None:
        cls.place = Path(tempfile.mkdtemp(prefix="hgwhba"))
        cls.place.chmod(0o755)
        cls.clients = Authority.make("clients")
        (cls.place / "hba").write_text(_HBA)
        (cls.place / "ident").write_text(f"agents {_user_name()} peer_user\n")
        cls.clients.write(cls.place / "clients.pem")
        cls.server = start(
            15,
            tls=True,
            hba_file=str(cls.place / "hba"),
            ident_file=str(cls.place / "ident"),
            ssl_ca_file=str(cls.place / "clients.pem"),
        )
        with cls.server.connect() as connection:
            for name in ("cert_user", "clear_user", "trusted_user", "peer_user"):
                connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'".encode())
            connection.execute("SET password_encryption = 'md5'")
            connection.execute(f"CREATE ROLE md5_user LOGIN PASSWORD '{PASSWORD}'".encode())

    @classmethod
    def tearDownClass(cls) -> None:
        if cls.server is not None:
            cls.server.stop()
        shutil.rmtree(cls.place)

    def as_user(self, name: str, auth: str, secret: bytes = b"", **options: Any) -> AgentTarget:
        assert self.server is not None
        assert self.server.authority is not None
        ca = self.server.authority.write(self.folder / "ca.pem")
        return self.target(
            f"127.0.0.1:{self.server.port}",
            {name: secret or PASSWORD.encode()},
            **{"ca": str(ca), "auth": {name: auth}, **options},
        )

    def client(self, authority: Authority) -> bytes:
        """Return a client's certificate and key."""
        pair = authority.issue(self.folder, "cert_user")
        return pair.certificate.read_bytes() + pair.key.read_bytes()

    async def who(self, opened: Opened) -> bytes:
        return (await self.ask(opened, "SELECT current_user"))[:80]

    async def test_a_client_certificate(self) -> None:
        target = self.as_user("cert_user", "cert", self.client(self.clients))
        opened = await self.open(target, "cert_user")
        self.assertIn(b"cert_user", await self.who(opened))
        await opened.cancel()

    async def test_a_client_certificate_of_another_authority(self) -> None:
        target = self.as_user("cert_user", "cert", self.client(Authority.make()))
        self.assertIn("no common TLS", await self.refused(target, "cert_user"))

    async def test_a_client_certificate_that_is_none(self) -> None:
        target = self.as_user("cert_user", "cert", b"PRIVATE")
        text = await self.refused(target, "cert_user")
        self.assertIn("set up wrongly", text)

    async def test_md5_if_the_operator_says_so(self) -> None:
        self.assertIn("MD5", await self.refused(self.as_user("md5_user", "password"), "md5_user"))
        target = self.as_user("md5_user", "password", md5=True)
        self.assertIn(b"md5_user", await self.who(await self.open(target, "md5_user")))

    async def test_clear_text_is_for_tokens_only(self) -> None:
        target = self.as_user("clear_user", "password", md5=True)
        self.assertIn("in clear", await self.refused(target, "clear_user"))
        target = self.as_user("clear_user", "token")
        self.assertIn(b"clear_user", await self.who(await self.open(target, "clear_user")))

    async def test_a_server_that_asks_nothing_is_not_trusted(self) -> None:
        target = self.as_user("trusted_user", "password")
        self.assertIn("without proof", await self.refused(target, "trusted_user"))

    async def test_the_sockets_user(self) -> None:
        assert self.server is not None
        path = self.server.folder / f".s.PGSQL.{self.server.port}"
        target = self.target(f"unix:{path}", {"peer_user": b"-"}, auth={"peer_user": "peer"})
        self.assertIn(b"peer_user", await self.who(await self.open(target, "peer_user")))

    async def test_scram_bound_to_an_unverified_certificate(self) -> None:
        opened = await self.open(self.as_user(SUPERUSER, "password", tls="require"))
        self.assertIn(b"postgres", await self.who(opened))

    async def test_another_ca_is_not_trusted(self) -> None:
        other = Authority.make().write(self.folder / "other.pem")
        for tls in ("verify-full", "verify-ca"):
            target = self.as_user(SUPERUSER, "password", ca=str(other), tls=tls)
            text = await self.refused(target)
            self.assertIn("does not accept the target's certificate", text)
        system = self.target(target.address)
        self.assertIn("does not accept", await self.refused(system))

    async def test_a_secret_that_cannot_be_had(self) -> None:
        async def fetch() -> bytes:
            raise UnavailableError("file:/etc/secret is open to others")

        good = self.as_user(SUPERUSER, "password")
        target = AgentTarget(
            name=good.name,
            protocol=good.protocol,
            address=good.address,
            accounts={SUPERUSER: fetch},
            options=good.options,
        )
        text = await self.refused(target)
        self.assertEqual(text, "the agent has no credential for postgres at the moment")


class FakeServerTests(LegTestCase):
    def serve(self, *answers: bytes | ssl.SSLContext) -> str:
        """Run a scripted server; return its address."""
        port = listen(self.reactor, Address("127.0.0.1", 0), ScriptedServers(*answers))
        self.addCleanup(port.stopListening)
        return f"127.0.0.1:{port.getHost().port}"

    def context(self, host: str) -> tuple[ssl.SSLContext, str]:
        """Return a server's context with a certificate for ``host``, and its CA."""
        authority = Authority.make()
        pair = authority.issue(self.folder, "server", (host,))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        return context, str(authority.write(self.folder / "ca.pem"))

    async def test_the_answer_about_tls_is_one_byte(self) -> None:
        for answer in (b"S" + wire.AUTHENTICATION_OK, b"SS", b"NN", b"E", b"X", b"s"):
            target = self.target(self.serve(answer))
            self.assertIn("as it should", await self.refused(target))
        self.assertIn("offers no TLS", await self.refused(self.target(self.serve(b"N"))))

    async def test_the_certificate_must_have_the_targets_name(self) -> None:
        context, ca = self.context("other.example")
        target = self.target(self.serve(context, wire.AUTHENTICATION_CLEARTEXT), ca=ca)
        self.assertIn("does not accept", await self.refused(target))

    async def test_verify_ca_asks_for_no_name_but_for_binding(self) -> None:
        context, ca = self.context("other.example")
        offer = wire.authentication_sasl(["SCRAM-SHA-256"])
        target = self.target(self.serve(context, offer), ca=ca, tls="verify-ca")
        self.assertIn("no SCRAM", await self.refused(target))

    async def test_verify_ca_gives_no_token(self) -> None:
        context, ca = self.context("127.0.0.1")
        address = self.serve(context, wire.AUTHENTICATION_CLEARTEXT)
        target = self.target(address, ca=ca, tls="verify-ca", auth={SUPERUSER: "token"})
        self.assertIn("configuration of orders is wrong", await self.refused(target))

    async def test_a_server_that_closes(self) -> None:
        port = listen(self.reactor, Address("127.0.0.1", 0), _Closing())
        self.addCleanup(port.stopListening)
        target = self.target(f"127.0.0.1:{port.getHost().port}", tls="disable")
        self.assertIn("closed the connection", await self.refused(target))

    async def test_a_server_that_is_not_there(self) -> None:
        target = self.target("127.0.0.1:1", tls="disable")
        self.assertEqual(await self.refused(target), "the agent cannot reach orders")
        target = self.target(f"unix:{self.folder}/none")
        self.assertEqual(await self.refused(target), "the agent cannot reach orders")

    async def test_a_server_that_is_silent(self) -> None:
        clock = Clock()
        self.leg = make_target_leg(AgentContext(reactor=self.reactor, clock=clock))
        opening = Deferred.fromCoroutine(self.refused(self.target(self.serve(), tls="disable")))
        await eventually(self.reactor, lambda: clock.getDelayedCalls())
        clock.advance(LOGIN_TIMEOUT - 0.1)
        self.assertFalse(opening.called)
        clock.advance(0.1)
        self.assertIn("in time", await opening)

    async def test_a_source_that_is_silent(self) -> None:
        clock = Clock()
        self.leg = make_target_leg(AgentContext(reactor=self.reactor, clock=clock))

        async def never() -> bytes:
            return await Deferred()

        good = self.target("127.0.0.1:1", tls="disable")
        silent = AgentTarget(
            name="orders",
            protocol="postgres",
            address=good.address,
            accounts={SUPERUSER: never},
            options=good.options,
        )
        opening = Deferred.fromCoroutine(self.refused(silent))
        clock.advance(LOGIN_TIMEOUT)
        self.assertIn("in time", await opening)

    async def test_wishes_that_are_none(self) -> None:
        target = self.target("127.0.0.1:1", tls="disable")
        self.assertIn("malformed", await self.refused(target, settings=["x"]))
        self.assertIn("malformed", await self.refused(target, database=3))


class _Closing(Factory):
    noisy = False

    def buildProtocol(self, addr: object) -> None:
        return None


def _user_name() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name
