"""Tests for `hoopgw_azure.proxied`: what clients are told that keep Azure's own names."""

from __future__ import annotations

from typing import Any, Final

from twisted.trial.unittest import SynchronousTestCase

from hoopgw_azure.proxied import Proxied, lines, variables
from hoopgw_azure.settings import KINDS

TENANT: Final = "72f988bf-86f1-41af-91ab-2d7cd011db47"
DOCUMENT: Final[dict[str, Any]] = {
    "hoopgw": {
        "tenant": TENANT,
        "resources": {
            "https://management.azure.com": ["arm"],
            "https://vault.azure.net": ["kv1", "kv2"],
        },
        "hosts": {"management.azure.com": "arm", "login.microsoftonline.com": ""},
    },
    "ca": "PEM",
}


class ProxiedTests(SynchronousTestCase):
    """One gateway's proxy."""

    def setUp(self) -> None:
        self.told = Proxied.of("https://gw.example:3128", DOCUMENT)

    def test_targets(self) -> None:
        """By the resource, or the scope, that clients ask tokens for."""
        for resource, targets in (
            ("https://management.azure.com/", ("arm",)),
            ("https://vault.azure.net/.default", ("kv1", "kv2")),
            ("https://VAULT.azure.net/.default offline_access", ("kv1", "kv2")),
            ("https://graph.microsoft.com/.default", ()),
            ("https://vault.azure.net.evil.example", ()),
            ("", ()),
        ):
            self.assertEqual(self.told.targets(resource), targets)

    def test_what_is_no_proxy_of_ours(self) -> None:
        wrong: list[dict[str, Any]] = [{}, {"hoopgw": {}}, {"hoopgw": None}, {"hoopgw": 1}]
        for document in wrong:
            with self.assertRaisesRegex(ValueError, "no proxy of hoopgw"):
                Proxied.of("https://gw.example:3128", document)

    def test_variables(self) -> None:
        """What is not to go through the proxy stays so."""
        found = variables(self.told, "http://p", "/b.pem", "intranet.example,localhost")
        self.assertEqual(found["HTTPS_PROXY"], found["https_proxy"])
        self.assertEqual(found["NO_PROXY"], "127.0.0.1,localhost,::1,intranet.example")
        self.assertEqual(found["SSL_CERT_FILE"], "/b.pem")
        self.assertNotIn("HTTP_PROXY", found)

    def test_lines_of_every_kind(self) -> None:
        """Each names the proxy, the account and where the proof is; none has a secret."""
        for kind in KINDS:
            with self.subTest(kind=kind):
                text = "\n".join(lines(self.told, kind, "deployer", "/b.pem"))
                for each in ("HTTPS_PROXY='https://gw.example:3128'", "deployer", "TOKEN_FILE"):
                    self.assertIn(each, text)
        text = "\n".join(lines(self.told, "js", "deployer", "/b.pem"))
        self.assertIn("'https://login.microsoftonline.com/msi/token'", text)
