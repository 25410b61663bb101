"""Tests for `hoopgw.control.pki`: lists that are made anew, and never older than before."""

from __future__ import annotations

from cryptography import x509

from hoopgw.control.pki import REFRESH, Numbers, RevocationLists
from hoopgw.errors import ConfigError
from hoopgw.store.certificate_rows import CertificateKind, CertificateRow
from tests.control.test_keys import KeeperCase


class PkiCase(KeeperCase):
    """Lists over a store, with a clock of the test."""

    def setUp(self) -> None:
        super().setUp()
        self.lists = self.new_lists()

    def new_lists(self) -> RevocationLists:
        """Make them, as after a start."""
        numbers = Numbers(self.paths.list_number)
        return RevocationLists(self.keeper, self.store, numbers, self.clock.seconds)

    def issue(self, serial: int, kind: CertificateKind = "x509") -> None:
        self.store.certificates.keep(
            CertificateRow(
                serial=serial,
                kind=kind,
                login="l1",
                lineage=("l1", f"cert:{serial:x}"),
                issued=1000.0,
                expires=9e9,
            ),
            [100],
        )

    def crl(self) -> tuple[int, list[int]]:
        """Return the number of the list, and what is on it."""
        crl = x509.load_der_x509_crl(self.lists.crl())
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        return number, sorted(revoked.serial_number for revoked in crl)

    def krl_number(self) -> int:
        return int.from_bytes(self.lists.krl()[12:20], "big")


class ListsTests(PkiCase):
    """When a list is made."""

    def test_after_a_revocation(self) -> None:
        """Within a second, with a greater number; before that, the same list."""
        for serial in (5, 6):
            self.issue(serial)
        self.issue(7, "ssh")
        first, listed = self.crl()
        self.assertEqual(listed, [])
        self.store.revoke("cert:5", 9e9)
        self.assertEqual(self.crl(), (first, []))
        self.clock.advance(1.0)
        second, listed = self.crl()
        self.assertEqual(listed, [5])
        self.assertGreater(second, first)
        self.clock.advance(1.0)
        self.assertEqual(self.crl()[0], second)
        self.store.revoke("l1", 9e9)
        self.clock.advance(1.0)
        self.assertEqual(self.crl()[1], [5, 6])

    def test_in_time(self) -> None:
        """Though nothing has changed, and when the CA has."""
        first = self.crl()[0]
        self.clock.advance(REFRESH - 1)
        self.assertEqual(self.crl()[0], first)
        self.clock.advance(1)
        second = self.crl()[0]
        self.assertGreater(second, first)
        before = self.lists.crl()
        self.keeper.rotate("callers")
        self.keeper.sweep()
        self.assertNotEqual(self.lists.crl(), before)
        self.assertGreater(self.crl()[0], second)

    def test_many_who_ask(self) -> None:
        """Within a second it is made once, so asking costs nothing."""
        made = [self.lists.crl() for _ in range(50)]
        self.assertEqual(len(set(made)), 1)


class NumberTests(PkiCase):
    """No list is older than one before."""

    def test_the_clock_is_set_back(self) -> None:
        """And control starts again: the number grows all the same."""
        first = self.crl()[0]
        self.clock.rightNow = 10.0
        self.lists = self.new_lists()
        second = self.crl()[0]
        self.assertGreater(second, first)
        self.assertGreater(self.krl_number(), second)

    def test_the_clock_is_set_back_while_it_runs(self) -> None:
        first = self.crl()[0]
        self.clock.rightNow = 10.0
        self.assertGreater(self.crl()[0], first)

    def test_a_damaged_number(self) -> None:
        """It does not become zero."""
        self.paths.list_number.write_text("x")
        self.paths.list_number.chmod(0o600)
        self.assertRaises(ConfigError, self.new_lists)
