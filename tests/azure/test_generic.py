"""REST services by rules."""

from __future__ import annotations

from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ConfigError
from hoopgw_azure.generic import Rules
from hoopgw_azure.operations import Service
from tests.azure.world import asked, call, context, done, ids, target

TABLES: Final = [
    {"name": "readOrder", "method": "GET", "path": "/v1/orders/{order}"},
    {"name": "searchOrders", "method": "GET", "path": "/v1/orders/search", "query": ["q"]},
    {"name": "refund", "method": "POST", "path": "/v1/orders/{order}/refund", "verb": "write"},
    {"name": "newKey", "method": "POST", "path": "/v1/keys", "verb": "mint", "secrets": "all"},
    {"name": "readUser", "method": "GET", "path": "/v1/users/{user}", "secrets": ["mail"]},
    {"name": "home", "method": "GET", "path": "/"},
]
SHOP: Final = Service.of(target("rest", {"readOrder": ("pii",)}, operations=TABLES))


class RulesTests(SynchronousTestCase):
    """What fits, and what not."""

    def test_what_fits(self) -> None:
        for method, url, verb, name in (
            ("GET", "/v1/orders/17", "read", "readOrder"),
            ("GET", "/v1/orders/search?q=x", "read", "searchOrders"),
            ("POST", "/v1/orders/17/refund", "write", "refund"),
            ("POST", "/v1/keys", "mint", "newKey"),
            ("GET", "/", "read", "home"),
        ):
            found = call(method, url, service=SHOP)
            self.assertEqual(done(found), [(verb, name)], url)
        self.assertEqual(
            context(call("POST", "/v1/orders/17/refund", service=SHOP))["parameters"], ("order=17",)
        )

    def test_what_fits_nothing_is_unknown(self) -> None:
        """Other methods, more segments, other case, a slash at the end."""
        for method, url in (
            ("HEAD", "/v1/orders/17"),
            ("DELETE", "/v1/orders/17"),
            ("GET", "/v1/orders/17/items"),
            ("GET", "/V1/orders/17"),
            ("GET", "/v1/orders/17/"),
            ("GET", "/v1/orders"),
            ("GET", "/v1/orders/search?q=x&admin=1"),
        ):
            found = SHOP.call(asked(method, url))
            if url.startswith("/v1/orders/search"):
                # The rule for one order fits: its query is open.
                self.assertEqual(done(found), [("read", "readOrder")])
            else:
                self.assertEqual(done(found), [("unknown", "unknown")], url)

    def test_secrets_and_labels(self) -> None:
        self.assertTrue(call("POST", "/v1/keys", service=SHOP).secrets.everything)
        self.assertTrue(call("POST", "/v1/keys", service=SHOP).mints)
        self.assertEqual(call("GET", "/v1/users/1", service=SHOP).secrets.paths, ("mail",))
        (touch,) = call("GET", "/v1/orders/1", service=SHOP).touches
        self.assertEqual(touch.resource.labels, {"pii"})
        self.assertEqual(ids(call("GET", "/x", service=SHOP), "unknown"), ["rest/unknown"])

    def test_wrong_rules(self) -> None:
        """The text says which, and what is wrong."""
        good = {"name": "a", "method": "GET", "path": "/a"}
        for table, said in (
            ({**good, "name": "a b"}, "name"),
            ({**good, "method": "get"}, "method"),
            ({**good, "method": "OPTIONS"}, "method"),
            ({**good, "path": "a"}, "path"),
            ({**good, "path": "/a//b"}, "path"),
            ({**good, "path": "/a/.."}, "path"),
            ({**good, "path": "/{a}/{a}"}, "twice"),
            ({**good, "path": "/a%2Fb"}, "path"),
            ({**good, "verb": "anything"}, "verb"),
            ({**good, "verbs": "read"}, "verbs"),
            ({**good, "secrets": "some"}, "secrets"),
            ({**good, "query": "a"}, "query"),
            ("GET /a", "table"),
        ):
            with self.assertRaises(ConfigError) as caught:
                Rules.of([table])
            self.assertIn(said, str(caught.exception))
        with self.assertRaises(ConfigError):
            Rules.of([])
        alike = [{**good, "path": "/{x}"}, {**good, "name": "b", "path": "/{y}"}]
        with self.assertRaises(ConfigError):
            Rules.of(alike)
