"""The identity room against two real providers, over real HTTP on loopback.

The caller's side blocks, so it runs in threads; the gateway's side is served by the reactor. Only
the clock of the key cache is not real, so that nobody waits for its pauses.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest

import requests
from joserfc.jwk import OKPKey
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.protocols.policies import WrappingFactory
from twisted.trial.unittest import TestCase
from twisted.web.server import Site

from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.events import Principal
from hoopgw.identity.browser import log_in_with_browser
from hoopgw.identity.dpop import make_proof
from hoopgw.identity.endpoint import token_resource
from hoopgw.identity.exchange import Exchange
from hoopgw.identity.fetch import make_fetch
from hoopgw.identity.hops import public_jwk
from hoopgw.identity.issuers import Issuer, Issuers
from hoopgw.identity.keys import DEADLINE, FRESH, PAUSE, IssuerKeys
from hoopgw.identity.login import (
    DeviceCode,
    IssuerToken,
    LoginError,
    LoginIssuer,
    Provider,
    exchange_form,
    log_in_with_device,
    password_form,
    refresh_form,
    target_form,
)
from hoopgw.identity.oidc import Authenticated, TokenUse
from hoopgw.identity.settings import AgentRule, IssuerSettings
from hoopgw.identity.token_parts import TokenParts
from hoopgw.identity.tokens import GATEWAY, TokenSigner, TokenVerifier, target_audience
from hoopgw.identity.urns import ACCESS_TOKEN, ID_TOKEN
from tests.identity.memory import KeptLogins, Passwords, Used
from tests.oidc.nano import NanoProvider
from tests.oidc.running import CLIENT, TestProvider, browse
from tests.support.npm import is_possible
from tests.support.processes import Processes

reactor: Any = installed


class ProviderTestCase(TestCase):
    """A provider in a process of its own, shared by a class of tests, and a gateway here."""

    processes: ClassVar[Processes]
    url: ClassVar[str]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.processes = Processes(Path(tempfile.mkdtemp()))
        cls.addClassCleanup(cls.processes.stop)
        cls.url = cls.start_provider()

    @classmethod
    def start_provider(cls) -> str:
        raise SkipTest("only what is derived from it")

    def setUp(self) -> None:
        self.clock = Clock()
        self.settings = IssuerSettings(
            alias="corp",
            issuer=self.url,
            client_id=CLIENT,
            audiences=["hoopgw"],
            clients=["ci", "planner"],
            kind="person",
            agents=AgentRule(claim="client_id", values=["ci", "planner"]),
            allow_http=True,
        )
        keys = IssuerKeys(self.settings, make_fetch(self.settings, reactor), self.clock)
        self.issuers = Issuers.of([Issuer(self.settings, keys)], time.time)
        self.signer = TokenSigner(OKPKey.generate_key("Ed25519"), "https://gw.example")
        self.verifier = TokenVerifier(self.signer.jwks, "https://gw.example")
        self.passwords = Passwords()
        exchange = Exchange(
            TokenParts(
                issuers=self.issuers,
                signer=self.signer,
                verifier=self.verifier,
                passwords=self.passwords,
                used=Used(),
                is_target=lambda target, _account: target == "orders",
                logins=KeptLogins(),
                is_revoked=lambda _principal: False,
                revoke=lambda _node, _why, _by=None: None,
                end_token=lambda _token: None,
                is_ended_token=lambda _token: False,
                now=time.time,
            )
        )
        self.site = WrappingFactory(Site(token_resource(exchange, "https://gw.example")))
        port = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        self.addCleanup(self.stop, port)
        self.gateway = f"http://127.0.0.1:{port.getHost().port}"

    async def stop(self, port: Any) -> None:
        """Stop listening, and wait until the last connection is gone."""
        await port.stopListening()
        while self.site.protocols:
            await deferLater(reactor, 0.01)

    async def authenticate(self, token: str, use: TokenUse = TokenUse.ACCESS) -> Authenticated:
        return await self.issuers.authenticate(token, use)

    async def exchange(self, form: Mapping[str, str], proof: str | None = None) -> dict[str, Any]:
        """Ask the gateway's token endpoint, as the command line does."""
        answer = await deferToThread(
            requests.post,
            self.gateway + "/sts/token",
            data=dict(form),
            headers={} if proof is None else {"DPoP": proof},
            timeout=60,
        )
        self.assertEqual(answer.status_code, 200, answer.text)
        body: dict[str, Any] = answer.json()
        return body

    async def provider(self) -> Provider:
        """Find the provider as the command line does: the gateway describes it."""
        answer = await deferToThread(requests.get, self.gateway + "/.well-known/hoopgw", timeout=60)
        return await deferToThread(Provider.discover, LoginIssuer.choose(answer.json()))

    async def assert_session(self, given: IssuerToken) -> Principal:
        """Log in with a token, and get everything that a log-in gives."""
        key = OKPKey.generate_key("Ed25519")
        url = "https://gw.example/sts/token"

        def proof() -> str:
            return make_proof(key, "POST", url, time.time())

        begun = await self.exchange(exchange_form(given), proof())
        again = await self.exchange(refresh_form(begun["refresh_token"]), proof())
        token = again["access_token"]
        principal = self.verifier.verify(token, GATEWAY, time.time(), holder=key.thumbprint())
        first = self.verifier.read(begun["access_token"], GATEWAY, time.time()).principal
        self.assertEqual((first.session, first.chain), (principal.session, principal.chain))
        narrow = await self.exchange(target_form(token, "orders"), proof())
        self.assertEqual(
            self.verifier.verify(narrow["access_token"], target_audience("orders"), time.time()),
            principal,
        )
        password = await self.exchange(password_form(token, "orders", "reader"), proof())
        self.assertEqual(self.passwords.kept[password["handle"]][0].principal, principal)
        await self.assert_delegates(token, proof, principal)
        return principal

    async def assert_delegates(
        self, token: str, proof: Callable[[], str], parent: Principal
    ) -> None:
        """Give a child a token, and see whom it stands for."""
        child = OKPKey.generate_key("Ed25519")
        form = exchange_form(IssuerToken(token=token, kind=ACCESS_TOKEN)) | {
            "name": "planner",
            "cnf": json.dumps({"jwk": public_jwk(child)}),
        }
        given = await self.exchange(form, proof())
        found = self.verifier.verify(
            given["access_token"], GATEWAY, time.time(), holder=child.thumbprint()
        )
        self.assertEqual((found.chain[0], found.chain[1].name), (parent.root, "planner"))


class OidcProviderTests(ProviderTestCase):
    """With npm's oidc-provider."""

    running: ClassVar[TestProvider]

    @classmethod
    def start_provider(cls) -> str:
        if not is_possible():
            raise SkipTest("node and npm are not installed")
        cls.running = TestProvider.start(cls.processes)
        return cls.running.url

    async def tell(self, command: str, **query: str) -> None:
        await deferToThread(self.running.tell, command, **query)

    async def client_token(self, client: str = "ci") -> str:
        return await deferToThread(self.running.client_token, client)

    async def test_client_credentials(self) -> None:
        """A client's own access token stands for an agent, by the rule."""
        found = await self.authenticate(await self.client_token())
        self.assertEqual((found.hop.id, found.hop.kind), ("corp|ci", "agent"))
        principal = await self.assert_session(
            IssuerToken(token=await self.client_token(), kind=ACCESS_TOKEN)
        )
        self.assertEqual(principal.root.kind, "agent")

    async def test_another_client(self) -> None:
        """A client that is not allowed gets a token with our audience, and is refused."""
        with self.assertRaisesRegex(AuthenticationError, "client 'stranger'"):
            await self.authenticate(await self.client_token("stranger"))

    async def test_device(self) -> None:
        """A person enters the code on another device."""
        provider = await self.provider()
        shown: list[DeviceCode] = []

        def show(code: DeviceCode) -> None:
            shown.append(code)
            browse(code.url_with_code or "", "alice")

        given = await deferToThread(log_in_with_device, provider, show, wait=lambda _s: None)
        self.assertEqual(given.kind, ID_TOKEN)
        principal = await self.assert_session(given)
        self.assertEqual(principal.root.id, "corp|alice")
        self.assertEqual(principal.root.groups, frozenset({"dba", "staff"}))
        self.assertEqual(shown[0].url, f"{self.url}/device")

    async def test_device_pending(self) -> None:
        """As long as nobody enters the code the answer is to wait; then the time is over."""
        provider = await self.provider()
        times = iter(range(0, 10_000, 7))
        waits: list[float] = []
        with self.assertRaisesRegex(LoginError, "in time"):
            await deferToThread(
                log_in_with_device,
                provider,
                lambda _code: None,
                wait=waits.append,
                now=lambda: float(next(times)),
            )
        self.assertGreater(len(waits), 2)

    async def test_browser(self) -> None:
        """Code and PKCE on a loopback port, with a nonce that the gateway sees again."""
        provider = await self.provider()
        given = await self.browse(provider, lambda url: browse(url, "bob"))
        self.assertIsNotNone(given.nonce)
        principal = await self.assert_session(given)
        self.assertEqual((principal.root.id, principal.root.name), ("corp|bob", "bob"))

    async def browse(self, provider: Provider, visit: Callable[[str], object]) -> IssuerToken:
        return await deferToThread(
            log_in_with_browser,
            provider,
            lambda url: threading.Thread(target=visit, args=(url,)).start(),
            patience=30.0,
        )

    async def test_overage(self) -> None:
        """Groups that the issuer left out are not taken for none; nothing is asked elsewhere."""
        given = await self.browse(await self.provider(), lambda url: browse(url, "over"))
        with self.assertRaisesRegex(AuthenticationError, "too many"):
            await self.authenticate(given.token, TokenUse.ID)

    async def test_rotation(self) -> None:
        """The new key is found when it is named; a retired one is no longer good."""
        old = await self.client_token()
        await self.authenticate(old)
        await self.tell("rotate")
        new = await self.client_token()
        with self.assertRaises(AuthenticationError):
            await self.authenticate(new)
        self.clock.advance(PAUSE)
        await self.authenticate(new)
        await self.authenticate(old)
        await self.tell("retire")
        self.clock.advance(FRESH)
        await self.authenticate(new)
        with self.assertRaises(AuthenticationError):
            await self.authenticate(old)

    async def test_faults(self) -> None:
        """Errors, an empty set, a redirect and a huge one leave the keys as they are."""
        self.addCleanup(self.tell, "fault", jwks="")
        token = await self.client_token()
        for kind in ("500", "empty", "redirect", "huge"):
            with self.subTest(kind):
                await self.tell("fault", jwks=kind)
                fresh = self.fresh_issuers()
                with self.assertRaises(UnavailableError):
                    await fresh.authenticate(token, TokenUse.ACCESS)
                await self.tell("fault", jwks="")
                self.clock.advance(FRESH)
                await self.authenticate(token)
                await self.tell("fault", jwks=kind)
                self.clock.advance(FRESH)
                await self.authenticate(token)

    def fresh_issuers(self) -> Issuers:
        """Return issuers whose keys nobody has fetched yet."""
        keys = IssuerKeys(self.settings, make_fetch(self.settings, reactor), self.clock)
        return Issuers.of([Issuer(self.settings, keys)], time.time)

    async def test_silence(self) -> None:
        """An answer that does not come is given up, and its connection closed."""
        self.addCleanup(self.tell, "fault", jwks="")
        token = await self.client_token()
        await self.authenticate(token)
        await self.tell("fault", jwks="slow")
        self.clock.advance(FRESH)
        waiting = Deferred.fromCoroutine(self.authenticate(token))
        self.clock.advance(DEADLINE)
        self.assertEqual((await waiting).hop.id, "corp|ci")

    async def test_nobody_there(self) -> None:
        """A provider that is gone makes its tokens impossible to check, and says so."""
        settings = IssuerSettings(
            alias="gone",
            issuer="http://127.0.0.1:1",
            client_id=CLIENT,
            audiences=["hoopgw"],
            allow_http=True,
        )
        keys = IssuerKeys(settings, make_fetch(settings, reactor), self.clock)
        with self.assertRaises(UnavailableError):
            await keys.find("x")


class NanoProviderTests(ProviderTestCase):
    """With PyPI's nanoidp."""

    running: ClassVar[NanoProvider]

    @classmethod
    def start_provider(cls) -> str:
        cls.running = NanoProvider.start(cls.processes, cls.processes.folder / "nanoidp")
        return cls.running.url

    async def test_client_credentials(self) -> None:
        """The agent's own token."""
        token = await deferToThread(self.running.client_token)
        principal = await self.assert_session(IssuerToken(token=token, kind=ACCESS_TOKEN))
        self.assertEqual((principal.root.id, principal.root.kind), ("corp|planner", "agent"))

    async def test_device(self) -> None:
        """A person enters the code; the groups are in the access token, so that is used."""
        given = await deferToThread(
            log_in_with_device,
            await self.provider(),
            lambda code: self.running.approve_device(code.code),
            wait=lambda _s: None,
        )
        principal = await self.assert_session(given)
        self.assertEqual((principal.root.id, principal.root.kind), ("corp|alice", "person"))
        self.assertEqual(principal.root.groups, frozenset({"dba"}))

    async def test_browser(self) -> None:
        """Code and PKCE."""
        given = await deferToThread(
            log_in_with_browser,
            await self.provider(),
            lambda url: threading.Thread(target=self.running.log_in, args=(url,)).start(),
            patience=30.0,
        )
        principal = await self.assert_session(given)
        self.assertEqual(principal.root.id, "corp|alice")
