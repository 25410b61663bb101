"""Tests for `hoopgw.identity.fetch`: TLS, redirects and sizes, on real sockets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import deferLater
from twisted.protocols.policies import WrappingFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from hoopgw.errors import ConfigError, UnavailableError
from hoopgw.identity.fetch import make_fetch
from hoopgw.identity.keys import DOCUMENT_LIMIT
from hoopgw.identity.settings import IssuerSettings
from tests.identity.forge import settings
from tests.support.certificates import Authority

reactor: Any = installed


class Pages(Resource):
    """What a hostile or broken issuer may serve."""

    isLeaf = True

    def __init__(self) -> None:
        Resource.__init__(self)
        self.seen: list[bytes] = []

    def render_GET(self, request: Request) -> bytes:
        """Serve what the path says."""
        self.seen.append(request.path)
        match request.path:
            case b"/redirect":
                request.redirect(b"/good")
                return b"{}"
            case b"/limit":
                return b"x" * DOCUMENT_LIMIT
            case b"/huge":
                return b"x" * (DOCUMENT_LIMIT + 1)
            case b"/short":
                request.setHeader(b"content-length", b"100")
                request.write(b"short")
                request.loseConnection()
                return b""
            case b"/empty":
                request.setResponseCode(204)
                return b""
        return b'{"good":true}'


class FetchTestCase(TestCase):
    """An issuer with TLS on loopback."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.authority = Authority.make()
        self.ca = self.authority.write(self.folder / "ca.pem")
        self.pages = Pages()
        self.url = self.listen("127.0.0.1")

    def listen(self, host: str) -> str:
        """Serve the pages with a certificate for a host, and return where."""
        site = WrappingFactory(Site(self.pages))
        pair = self.authority.issue(self.folder, host, (host,))
        pem = pair.certificate.read_bytes() + pair.key.read_bytes()
        options = PrivateCertificate.loadPEM(pem).options()
        port = reactor.listenSSL(0, site, options, interface="127.0.0.1")
        self.addCleanup(self.stop, port, site)
        return f"https://127.0.0.1:{port.getHost().port}"

    async def stop(self, port: Any, site: WrappingFactory) -> None:
        """Stop listening, and wait until the last connection is gone."""
        await port.stopListening()
        while site.protocols:
            await deferLater(reactor, 0.01)

    def issuer(self, **changes: Any) -> IssuerSettings:
        return settings(issuer=self.url, **changes)

    async def assert_refused(self, path: str, why: str, **changes: Any) -> None:
        fetch = make_fetch(self.issuer(**({"ca": self.ca} | changes)), reactor)
        with self.subTest(path), self.assertRaisesRegex(UnavailableError, why):
            await fetch(self.url + path)


class FetchTests(FetchTestCase):
    """Tests for `make_fetch`."""

    async def test_good(self) -> None:
        """The body comes, with the issuer's own CA, and up to the limit."""
        fetch = make_fetch(self.issuer(ca=self.ca), reactor)
        self.assertEqual(await fetch(self.url + "/good"), b'{"good":true}')
        self.assertEqual(len(await fetch(self.url + "/limit")), DOCUMENT_LIMIT)

    async def test_distrusted(self) -> None:
        """Neither the system's CAs nor another one vouch for it."""
        await self.assert_refused("/good", "certificate", ca=None)
        folder = Path(self.mktemp())
        folder.mkdir()
        other = Authority.make("other").write(folder / "other.pem")
        await self.assert_refused("/good", "certificate", ca=other)
        self.assertEqual(self.pages.seen, [])

    async def test_another_name(self) -> None:
        """A certificate is for its name."""
        self.url = self.listen("127.0.0.2")
        await self.assert_refused("/good", "VerificationError|certificate verify")
        self.assertEqual(self.pages.seen, [])

    async def test_answers(self) -> None:
        """A redirect is not followed; what is too long, too short or no 200 is refused."""
        await self.assert_refused("/redirect", "302")
        await self.assert_refused("/huge", "longer than")
        await self.assert_refused("/short", "ended early")
        await self.assert_refused("/empty", "204")
        self.assertNotIn(b"/good", self.pages.seen)


class RootsTests(SynchronousTestCase):
    """The ``ca`` file."""

    def test_unreadable(self) -> None:
        """It is a mistake in the configuration, found at the start."""
        path = Path(self.mktemp())
        for content in (None, b"", b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"):
            if content is not None:
                path.write_bytes(content)
            self.assertRaises(ConfigError, make_fetch, settings(ca=path), reactor)

    def test_several(self) -> None:
        """All certificates of the file are trusted."""
        path = Path(self.mktemp())
        parts = [Authority.make(name).write(Path(self.mktemp())).read_bytes() for name in "ab"]
        path.write_bytes(b"# two\n" + b"\n".join(parts))
        make_fetch(settings(ca=path), reactor)
