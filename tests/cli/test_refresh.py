"""The command refreshes its log-in by itself, against a real control process's service."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from attrs import asdict
from joserfc.jwk import OKPKey
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread

from hoopgw.cli.home import Home, Login
from hoopgw.identity.hops import public_jwk
from hoopgw.identity.tokens import GATEWAY, GatewayToken
from hoopgw.store.rows import LoginRow
from tests.cli.support import Run, run
from tests.control.gateway_case import ALICE, GatewayCase


class RefreshCase(GatewayCase):
    """Alice's log-in, whose token is over."""

    def setUp(self) -> None:
        super().setUp()
        self.key = OKPKey.generate_key("Ed25519", private=True)
        self.home = Home(folder=self.folder / "home")
        now, self.refresh = time.time(), f"hgr1.{ALICE.session}.{'s' * 43}"
        self.store.logins.keep(
            LoginRow(
                id=ALICE.session,
                principal=ALICE,
                thumbprint=self.key.thumbprint(),
                refresh=hashlib.sha256(self.refresh.encode()).digest(),
                began=now,
                groups_at=now,
                expires=now + 3600,
            )
        )
        self.home.save(self.login())

    def login(self, **changes: Any) -> Login:
        now = time.time()
        bound = {"jkt": self.key.thumbprint(), "jwk": public_jwk(self.key)}
        token = GatewayToken(
            principal=ALICE, audience=GATEWAY, issued=now - 900, expires=now - 1, confirmation=bound
        )
        values: dict[str, Any] = {
            "gateway": self.url,
            "ca": str(self.config.paths.ca_certificate),
            "token": self.service.signer.sign(token),
            "expires": now - 1,
            "key": dict(self.key.as_dict(private=True)),
            "origin": self.url,
            "refresh": self.refresh,
            "ends": now + 3600,
        }
        return Login(**(values | changes))

    async def hoopgw(self, *arguments: str | Path) -> Run:
        result: Run = await deferToThread(run, "--home", self.home.folder, *arguments)
        return result

    def kept(self) -> Login:
        kept = self.home.kept()
        assert kept is not None
        return kept


class RefreshTests(RefreshCase):
    """What a person notices of it: nothing."""

    async def test_silently(self) -> None:
        """The next command gets a new token, and keeps it for those after it, for us only."""
        before = self.kept()
        done = await self.hoopgw("whoami")
        self.assertEqual((done.status, done.errors), (0, ""))
        after = self.kept()
        self.assertNotEqual((after.token, after.refresh), (before.token, before.refresh))
        self.assertTrue(after.is_fresh)
        self.assertEqual(after.key, before.key)
        self.assertEqual((self.home.folder / "login.json").stat().st_mode & 0o777, 0o600)
        await self.hoopgw("whoami")
        self.assertEqual(self.kept(), after)

    async def test_several_commands_at_once(self) -> None:
        """One of them refreshes: two would look like a thief, and log the person out."""
        done = await gatherResults([deferToThread(self.home.load) for _ in range(8)])
        self.assertEqual({login.token for login in done}, {self.kept().token})
        self.assertFalse(self.store.is_revoked(ALICE.lineage))

    async def test_revoked(self) -> None:
        """Status 3, and what to do."""
        self.store.revoke(ALICE.session, time.time() + 60)
        done = await self.hoopgw("whoami")
        self.assertEqual(done.status, 3)
        self.assertIn("hoopgw login", done.errors)

    async def test_over(self) -> None:
        """Nobody is asked: the log-in is over, or was never to be refreshed."""
        for changes in ({"refresh": None, "ends": None}, {"ends": time.time() - 1}):
            self.home.save(self.login(**changes))
            done = await self.hoopgw("whoami", "--json")
            self.assertEqual((done.status, done.fault["error"]), (3, "not_logged_in"))

    async def test_of_an_earlier_version(self) -> None:
        """A file that knows no refresh tokens is read."""
        values = asdict(self.login(expires=time.time() + 60))
        del values["refresh"], values["ends"]
        path = self.home.folder / "login.json"
        path.write_text(json.dumps(values))
        self.assertEqual(self.home.load().until, values["expires"])

    async def test_gateway_gone(self) -> None:
        """Status 4; the refresh token is still good for the next attempt."""
        await self.stop()
        done = await self.hoopgw("whoami")
        self.assertEqual(done.status, 4)
        self.assertEqual(self.kept().refresh, self.refresh)
