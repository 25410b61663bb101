"""hoopgw-tokens(7) describes every parameter that the token endpoint takes."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.identity import delegation, endpoint, exchange

PAGE = Path(__file__).resolve().parents[2] / "man" / "hoopgw-tokens.7"


class ManualTests(SynchronousTestCase):
    """The page and the endpoint agree."""

    def test_parameters(self) -> None:
        """Each is there; RFC 8693's too."""
        page = PAGE.read_text().replace("\\-", "-")
        known = exchange._EXCHANGE | exchange._REFRESH | delegation.ACTOR | delegation.TERMS
        for name in sorted(known):
            self.assertIn(name, page)

    def test_paths(self) -> None:
        page = PAGE.read_text().replace("\\-", "-")
        for path in (
            endpoint.TOKEN_PATH,
            endpoint.REVOKE_PATH,
            endpoint.INTROSPECT_PATH,
            endpoint.KEYS_PATH,
        ):
            self.assertIn(path, page)
