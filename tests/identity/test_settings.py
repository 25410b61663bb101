"""Tests for `hoopgw.identity.settings`."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.identity.settings import AgentRule, IssuerSettings, url_problem


def issuer(**changes: Any) -> IssuerSettings:
    """Return good settings with changes."""
    values: dict[str, Any] = {
        "alias": "corp",
        "issuer": "https://idp.example/realm",
        "client_id": "hoopgw-cli",
        "audiences": ["hoopgw"],
    }
    return IssuerSettings(**(values | changes))


class IssuerSettingsTests(SynchronousTestCase):
    """Tests for `IssuerSettings`."""

    def test_lists_become_sets(self) -> None:
        """What a TOML file has is taken; ``typ`` is compared without regard to case."""
        made = issuer(types=["JWT", "at+jwt"], clients=["ci"], required={"ref": ["main"]})
        self.assertEqual(made.types, frozenset({"jwt", "at+jwt"}))
        self.assertEqual(made.allowed_clients, frozenset({"ci", "hoopgw-cli"}))
        self.assertEqual(made.required, {"ref": frozenset({"main"})})

    def test_no_client_is_not_the_empty_client(self) -> None:
        """An issuer without clients allows none, not the one named ''."""
        self.assertEqual(issuer(client_id="").allowed_clients, frozenset())

    def test_wrong_values(self) -> None:
        """Each is refused when it is read."""
        wrong: list[dict[str, Any]] = [
            {"alias": "Corp|x"},
            {"alias": ""},
            {"issuer": "http://idp.example"},
            {"issuer": "http://127.0.0.1:1"},
            {"issuer": "http://idp.example", "allow_http": True},
            {"issuer": "https://user@idp.example"},
            {"issuer": "https://idp.example/?q"},
            {"issuer": "https://"},
            {"audiences": []},
            {"audiences": "hoopgw"},
            {"audiences": [""]},
            {"algorithms": ["HS256"]},
            {"algorithms": ["none"]},
            {"algorithms": []},
            {"kind": "robot"},
            {"groups_overage": "ask"},
            {"lifetime_limit": 1e9},
            {"clients": [""]},
            {"required": {"ref": "main"}},
        ]
        for changes in wrong:
            with self.subTest(**changes):
                self.assertRaises(ValueError, issuer, **changes)

    def test_plain_http_on_loopback_only(self) -> None:
        """`allow_http` is no way to another machine."""
        for host in ("127.0.0.1:80", "localhost", "[::1]:8080"):
            self.assertIsNone(url_problem(f"http://{host}/keys", allow_http=True))
        for host in ("127.0.0.1.example", "10.0.0.1", "localhost.example"):
            self.assertIsNotNone(url_problem(f"http://{host}/keys", allow_http=True))

    def test_agent_rule_needs_values(self) -> None:
        """An empty rule would never match, so it is a mistake."""
        self.assertRaises(ValueError, AgentRule, claim="client_id", values=[])
        self.assertRaises(ValueError, AgentRule, claim="", values=["planner"])
