"""Tests for `hoopgw.http.agent`: how long a credential counts after its source has changed."""

from __future__ import annotations

import base64
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.credentials.sources import FileSource
from hoopgw.errors import LinkError
from hoopgw.http.agent import KEPT, AccountFields, Auth
from hoopgw.spi import AgentTarget


class AccountFieldsTests(SynchronousTestCase):
    """Tests for `AccountFields`, with a real file."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1e9)
        self.path = Path(self.mktemp())
        self.write(b"one")
        self.fields = self.make()

    def write(self, secret: bytes, mode: int = 0o600) -> None:
        """Put another file there, as whoever rotates a secret does."""
        new = self.path.with_suffix(".new")
        new.write_bytes(secret)
        new.chmod(mode)
        new.replace(self.path)

    def make(self, kind: Auth = "bearer", header: str = "") -> AccountFields:
        """Make what carries the file's secret."""
        source = FileSource(self.path).fetch
        target = AgentTarget(name="t", protocol="p", address="x:1", accounts={"reader": source})
        return AccountFields(
            target=target,
            account="reader",
            source=source,
            kind=kind,
            header=header,
            clock=self.clock,
        )

    def fetch(self) -> bytes:
        """Ask the source, and return the value."""
        ((_name, value),) = self.successResultOf(Deferred.fromCoroutine(self.fields.fetch()))
        return value

    def test_it_is_kept_for_a_moment(self) -> None:
        """The same value, so that what follows from it need not be made anew."""
        self.assertIsNone(self.fields.kept())
        self.assertEqual(self.fetch(), b"Bearer one")
        kept = self.fields.kept()
        self.assertEqual(kept, ((b"Authorization", b"Bearer one"),))
        self.clock.advance(KEPT * 0.99)
        self.assertIs(self.fields.kept(), kept)
        self.clock.advance(KEPT * 0.02)
        self.assertIsNone(self.fields.kept())

    def test_a_changed_file_counts_within_a_second(self) -> None:
        self.fetch()
        self.write(b"two")
        self.clock.advance(1.0)
        self.assertIsNone(self.fields.kept())
        self.assertEqual(self.fetch(), b"Bearer two")

    def test_a_file_that_is_gone_or_open_to_others_is_no_credential(self) -> None:
        """Within a second, and what was read before does not come back."""
        for spoil in (self.path.unlink, lambda: self.write(b"one", 0o644)):
            self.write(b"one")
            self.fields = self.make()
            self.fetch()
            spoil()
            self.clock.advance(1.0)
            self.assertIsNone(self.fields.kept())
            self.failureResultOf(Deferred.fromCoroutine(self.fields.fetch()), LinkError)
            self.assertIsNone(self.fields.kept())

    def test_a_clock_that_is_set_back_keeps_nothing(self) -> None:
        self.fetch()
        self.clock.rightNow -= 3600
        self.assertIsNone(self.fields.kept())

    def test_the_time_that_its_source_takes_counts(self) -> None:
        """What it gave may be as old as the question."""
        given: Deferred[bytes] = Deferred()

        async def source() -> bytes:
            return await given

        self.fields.source = source
        fetching = Deferred.fromCoroutine(self.fields.fetch())
        self.clock.advance(KEPT)
        given.callback(b"late")
        self.assertEqual(self.successResultOf(fetching), ((b"Authorization", b"Bearer late"),))
        self.assertIsNone(self.fields.kept())

    def test_kinds(self) -> None:
        self.write(b"user:pass")
        self.fields = self.make("basic")
        self.assertEqual(self.fetch(), b"Basic " + base64.b64encode(b"user:pass"))
        self.fields = self.make("header", "X-Key")
        self.fetch()
        self.assertEqual(self.fields.kept(), ((b"X-Key", b"user:pass"),))
        self.write(b"two words")
        for kind in ("bearer", "token", "header"):
            self.fields = self.make(kind, "X-Key")
            self.failureResultOf(Deferred.fromCoroutine(self.fields.fetch()), LinkError)
        self.fields = self.make("peer")
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(self.fields.fetch())), ())
        self.assertEqual(self.fields.kept(), ())
