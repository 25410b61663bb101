"""Tests for `hoopgw.control.tls`: certificates are renewed in time, and served."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from hoopgw import config
from hoopgw.control.tls import ListenerTls
from hoopgw.errors import ConfigError, UnavailableError
from hoopgw.identity.keyfiles import create_state, renew_gateway_certificate
from tests.control.gateway_case import TOML


class ListenerTlsTests(SynchronousTestCase):
    """A state folder that was made some time ago."""

    def make(self, age: timedelta, extra: str = "") -> None:
        """Make a state folder and what renews its certificates."""
        self.folder = Path(tempfile.mkdtemp(prefix="hg-tls-"))
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "hoopgw.toml").write_text(TOML.format(port=1) + extra)
        self.config = config.load(self.folder / "hoopgw.toml")
        self.paths = self.config.paths
        self.now = datetime.now(UTC)
        create_state(self.paths, self.config.tls.names, self.now - age)
        self.told = 0
        self.before = self.serials()

    def start(self) -> ListenerTls:
        """Start what renews."""
        return ListenerTls(self.config, lambda: self.now.timestamp(), self._renewed)

    def _renewed(self) -> None:
        self.told += 1

    def serials(self) -> tuple[int, int]:
        """Return the serial numbers of the listeners' certificates."""
        first, second = (
            x509.load_pem_x509_certificate(path.read_bytes()).serial_number
            for path in (self.paths.gateway_certificate, self.paths.link_certificate)
        )
        return first, second

    def assert_renewed(self, gateway: bool, link: bool) -> None:
        """Compare with what was there in the beginning."""
        now = self.serials()
        renewed = [new != old for new, old in zip(now, self.before, strict=True)]
        self.assertEqual(renewed, [gateway, link])

    def test_young_ones_stay(self) -> None:
        self.make(timedelta(days=1))
        self.start().look()
        self.assert_renewed(False, False)
        self.assertEqual(self.told, 0)

    def test_one_is_due_at_the_start(self) -> None:
        """The listeners' certificate lives for 90 days, the link's for longer."""
        self.make(timedelta(days=61))
        self.start()
        self.assert_renewed(True, False)

    def test_both_have_ended_at_the_start(self) -> None:
        """As after a year in which the gateway did not run."""
        self.make(timedelta(days=400))
        self.start()
        self.assert_renewed(True, True)

    def test_they_become_due(self) -> None:
        """Workers are told once for each time."""
        self.make(timedelta(0))
        tls = self.start()
        self.now += timedelta(days=61)
        tls.look()
        self.assert_renewed(True, False)
        tls.look()
        self.assertEqual(self.told, 1)
        self.now += timedelta(days=310)
        tls.look()
        self.assert_renewed(True, True)
        self.assertEqual(self.told, 2)

    def test_an_operators_own_is_served_anew_and_never_renewed(self) -> None:
        """However old: whoever issued it replaces it, and then it is served."""
        self.make(timedelta(days=200), '[tls]\ncertificate = "own.crt"\nkey = "own.key"\n')
        own = (self.folder / "own.crt", self.folder / "own.key")
        for source, target in zip(
            (self.paths.gateway_certificate, self.paths.gateway_key), own, strict=True
        ):
            shutil.copy(source, target)
        tls = self.start()
        self.assert_renewed(False, False)
        renew_gateway_certificate(self.paths, self.config.tls.names, self.now)
        tls.look()
        self.assertEqual(self.told, 0)
        shutil.copy(self.paths.gateway_certificate, own[0])
        tls.look()  # the key is not there yet
        self.assertEqual(self.told, 0)
        shutil.copy(self.paths.gateway_key, own[1])
        tls.look()
        self.assertEqual(self.told, 1)

    def test_what_cannot_be_renewed_is_served_on(self) -> None:
        """A CA that is not there, as where its key is kept offline: said, and nothing breaks."""
        self.make(timedelta(0))
        tls = self.start()
        self.paths.ca_key.unlink()
        self.now += timedelta(days=61)
        tls.look()
        self.assert_renewed(False, False)
        self.assertEqual(self.told, 0)

    def test_nothing_to_serve(self) -> None:
        """No certificate, garbage, and one that does not fit its key."""
        self.make(timedelta(0))
        good = self.paths.gateway_certificate.read_bytes()
        self.paths.gateway_certificate.unlink()
        self.assertRaises(ConfigError, self.start)
        self.paths.gateway_certificate.write_bytes(b"garbage")
        self.assertRaises(ConfigError, self.start)
        self.paths.gateway_certificate.write_bytes(good)
        shutil.copy(self.paths.link_key, self.paths.gateway_key)
        self.assertRaises(UnavailableError, self.start)
