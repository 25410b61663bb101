"""Tests for the demonstration's Azure: `hoopgw.demo.cloud`, `azure_data` and `azure_settings`."""

from __future__ import annotations

import json
import stat
import tempfile
from pathlib import Path
from typing import Any

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.test.requesthelper import DummyRequest

from hoopgw.demo.azure_data import DELETE_GROUP, KEYS, MANAGER_HOST, SHOW_SECRET, VAULT_HOST, Call
from hoopgw.demo.azure_settings import CloudFiles, identity_variables
from hoopgw.demo.cloud import Azure, Cloud, ManagedIdentity


class CloudTests(SynchronousTestCase):
    """It believes the token of its managed identity, and gives what its people ask for."""

    def setUp(self) -> None:
        top = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.files = CloudFiles(folder=top / "cloud")
        self.cloud = self.files.make(1, 2)

    def ask(self, resource: Resource, method: str, path: str, **headers: str) -> Any:
        """Return the request after it was answered."""
        request: Any = DummyRequest([])
        request.method, request.uri = method.encode(), path.encode()
        for name, value in headers.items():
            request.requestHeaders.setRawHeaders(name.replace("_", "-"), [value])
        request.write(resource.render(request))
        return request

    def call(self, call: Call) -> tuple[int, bytes]:
        host = VAULT_HOST if call is SHOW_SECRET else MANAGER_HOST
        told = {"host": host, "authorization": f"Bearer {self.cloud.token}"}
        request = self.ask(Azure(self.cloud), call.method, call.path, **told)
        return request.responseCode, b"".join(request.written)

    def test_what_people_ask(self) -> None:
        """Everything in the story has an answer, with secrets in it."""
        status, body = self.call(KEYS)
        keys = [each["value"] for each in json.loads(body)["keys"]]
        self.assertEqual((status, tuple(keys)), (200, self.cloud.secrets.keys))
        status, body = self.call(SHOW_SECRET)
        self.assertEqual(json.loads(body)["value"], self.cloud.secrets.value)
        self.assertEqual(self.call(DELETE_GROUP), (202, b""))

    def test_without_the_token(self) -> None:
        """Nothing."""
        request = self.ask(Azure(self.cloud), KEYS.method, KEYS.path, host=MANAGER_HOST)
        self.assertEqual(request.responseCode, 401)
        self.assertNotIn(self.cloud.secrets.keys[0].encode(), b"".join(request.written))

    def test_the_managed_identity(self) -> None:
        """Gives the token to who shows the header, and to nobody else."""
        resource, shown = ManagedIdentity(self.cloud), identity_variables(self.cloud)
        given = self.ask(resource, "GET", "/", X_IDENTITY_HEADER=shown["IDENTITY_HEADER"])
        self.assertEqual(json.loads(b"".join(given.written))["access_token"], self.cloud.token)
        for headers in ({}, {"X_IDENTITY_HEADER": "another"}):
            self.assertEqual(self.ask(resource, "GET", "/", **headers).responseCode, 401)

    def test_the_file_is_for_us_only(self) -> None:
        """It is read as it was written, and no repr shows what is in it."""
        self.assertEqual(Cloud.read(self.files.config), self.cloud)
        self.assertEqual(stat.S_IMODE(self.files.config.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(Path(self.cloud.key).stat().st_mode), 0o600)
        for held in (self.cloud.token, self.cloud.header, self.cloud.secrets.value):
            self.assertNotIn(held, repr(self.cloud))

    def test_its_names_are_azures(self) -> None:
        """The agent checks them."""
        found = x509.load_pem_x509_certificate(Path(self.cloud.certificate).read_bytes())
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), [MANAGER_HOST, VAULT_HOST])
