"""Tests for `hoopgw.demo.recorded`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.demo.recorded import Exchange, Replay

HOST = "management.azure.com"
TOKEN = "good"


def recorded(method: str, path: str, status: int) -> Exchange:
    return Exchange(
        method=method, url=f"https://{HOST}{path}", status=status, headers=(), body=b"{}"
    )


class ReplayTests(SynchronousTestCase):
    """Which answer a request gets."""

    def ask(self, method: str, path: str, host: str = f"{HOST}:443", token: str = TOKEN) -> int:
        return self.replay.find(method, host, path, f"Bearer {token}").status

    def setUp(self) -> None:
        self.replay = Replay(
            [
                recorded("GET", "/subscriptions/1/resourceGroups/a", 200),
                recorded("GET", "/subscriptions/1/resourceGroups/a", 404),
                recorded("PUT", "/subscriptions/1/roleAssignments/x", 201),
            ],
            TOKEN,
        )

    def test_in_order_and_then_the_last(self) -> None:
        """Whatever the case, the query, or an encoding."""
        paths = ("/subscriptions/1/RESOURCEGROUPS/a?x=y", "/subscriptions/1/resourcegroups/%61/")
        given = [self.ask("GET", path) for path in (*paths, paths[0])]
        self.assertEqual(given, [200, 404, 404])

    def test_a_name_that_the_client_made_up(self) -> None:
        """For PUT only."""
        self.assertEqual(self.ask("PUT", "/subscriptions/1/roleAssignments/made-up"), 201)
        self.assertEqual(self.ask("GET", "/subscriptions/1/resourceGroups/other"), 404)

    def test_another_token_and_another_host(self) -> None:
        """Are told so."""
        path = "/subscriptions/1/resourceGroups/a"
        self.assertEqual(self.ask("GET", path, token="bad"), 401)
        self.assertEqual(self.replay.find("GET", HOST, path, None).status, 401)
        self.assertEqual(self.ask("GET", path, host="elsewhere.example"), 404)

    def test_renamed(self) -> None:
        """Wherever the name stands."""
        one = Exchange(
            method="GET",
            url="https://old.vault/secrets",
            status=200,
            headers=(("Location", "https://old.vault/x"),),
            body=b'{"id": "https://old.vault/y"}',
        )
        other = one.renamed("old", "new")
        self.assertNotIn("old", f"{other!r} {other.body!r}")
