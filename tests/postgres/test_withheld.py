"""Tests for `hoopgw_postgres.withheld`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hoopgw_postgres import wire
from hoopgw_postgres.withheld import withhold

SECRET = "078-05-1120"


class WithholdTests(SynchronousTestCase):
    """What of an error a client may read."""

    def withhold(self, **fields: str) -> dict[str, str]:
        """Withhold, and read what is left."""
        sent = withhold(b"E", fields)
        self.assertNotIn(SECRET.encode(), sent)
        return wire.parse_report(sent[5:])

    def test_texts_that_hold_data(self) -> None:
        """Only severity and SQLSTATE are left."""
        names = dict.fromkeys("DHWqstcdnFLR", SECRET)
        left = self.withhold(S="ERROR", C="23505", M=SECRET, **names)
        self.assertEqual((left["S"], left["C"]), ("ERROR", "23505"))
        self.assertIn("withholds", left["M"])
        self.assertEqual(set(left), set("SVCM"))

    def test_texts_that_hold_names(self) -> None:
        """The first text says which; the others could say more."""
        left = self.withhold(S="ERROR", C="42703", M='column "x" does not exist', H=SECRET)
        self.assertEqual(left["M"], 'column "x" does not exist')
        left = self.withhold(S="ERROR", C="55P03", M="timeout", W='while locking tuple in "t"')
        self.assertEqual(left["M"], "timeout")

    def test_whatever_sqlstate_code_gives_it(self) -> None:
        """RAISE takes any."""
        where = f"PL/pgSQL function f({SECRET}) line 1 at RAISE"
        for context in (where, f"while x\n{where}", f"{where}\nwhile x"):
            left = self.withhold(S="ERROR", C="42501", M=SECRET, W=context)
            self.assertIn("withholds", left["M"])

    def test_nothing_in_it(self) -> None:
        self.assertEqual(self.withhold()["C"], "XX000")
