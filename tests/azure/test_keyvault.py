"""Key Vault's data plane."""

from __future__ import annotations

from typing import Final

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw_azure import known
from hoopgw_azure.calls import Call
from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.keyvault import _ROWS as ROWS
from hoopgw_azure.operations import Service
from tests.azure.world import VAULT, above, call, done, target

VERSION: Final = "ed8f06981f094eda8b27df1fb8606a46"


def ask(method: str, path: str) -> Call:
    """Return what a request to the vault is."""
    return call(method, f"{path}?api-version=7.4", service=VAULT)


class OperationTests(SynchronousTestCase):
    """Method and path to the data action."""

    def test_secrets(self) -> None:
        for method, path, verb, action in (
            ("GET", "/secrets", "listData", "secrets/readMetadata/action"),
            ("GET", "/secrets/db", "getSecret", "secrets/getSecret/action"),
            ("GET", "/secrets/db/", "getSecret", "secrets/getSecret/action"),
            ("GET", f"/secrets/db/{VERSION}", "getSecret", "secrets/getSecret/action"),
            ("GET", "/secrets/db/versions", "listData", "secrets/readMetadata/action"),
            ("PUT", "/secrets/db", "writeData", "secrets/setSecret/action"),
            ("PATCH", "/secrets/db/", "writeData", "secrets/update/action"),
            ("DELETE", "/secrets/db", "deleteData", "secrets/delete"),
            ("POST", "/secrets/db/backup", "getSecret", "secrets/backup/action"),
            ("POST", "/secrets/restore", "writeData", "secrets/restore/action"),
            ("GET", "/deletedsecrets", "listData", "secrets/readMetadata/action"),
            ("DELETE", "/deletedsecrets/db", "deleteData", "secrets/purge/action"),
            ("POST", "/deletedsecrets/db/recover", "writeData", "secrets/recover/action"),
        ):
            found = ask(method, path)
            self.assertEqual(found.operation, f"Microsoft.KeyVault/vaults/{action}")
            self.assertEqual(done(found), [(verb, found.operation.lower())], path)

    def test_keys_and_certificates(self) -> None:
        for method, path, verb, action in (
            ("GET", "/keys/k", "readData", "keys/read"),
            ("POST", "/keys/k/create", "writeData", "keys/create/action"),
            ("PUT", "/keys/k", "writeData", "keys/import/action"),
            ("POST", "/keys/k/rotate", "writeData", "keys/rotate/action"),
            ("POST", f"/keys/k/{VERSION}/sign", "useKey", "keys/sign/action"),
            ("POST", f"/keys/k/{VERSION}/decrypt", "useKey", "keys/decrypt/action"),
            ("POST", f"/keys/k/{VERSION}/unwrapkey", "useKey", "keys/unwrap/action"),
            ("POST", f"/keys/k/{VERSION}/release", "getSecret", "keys/release/action"),
            ("GET", "/certificates/c", "readData", "certificates/read"),
            ("GET", "/certificates/c/policy", "readData", "certificates/read"),
            ("POST", "/certificates/c/import", "writeData", "certificates/import/action"),
            ("POST", "/certificates/c/pending/merge", "writeData", "certificates/create/action"),
            ("GET", "/certificates/contacts", "readData", "certificatecontacts/read"),
            ("PUT", "/certificates/issuers/i", "writeData", "certificatecas/write"),
            ("POST", "/storage/s/regeneratekey", "mint", "storageaccounts/regeneratekey/action"),
            ("PUT", "/storage/s/sas/d", "mint", "storageaccounts/sas/set/action"),
        ):
            found = ask(method, path)
            self.assertEqual(done(found), [(verb, f"microsoft.keyvault/vaults/{action}".lower())])

    def test_what_is_not_known(self) -> None:
        """It is unknown, of whatever method."""
        for method, path in (
            ("POST", "/secrets/db"),
            ("GET", "/secrets/db/backup"),
            ("GET", "/secrets/db/not-a-version"),
            ("GET", "/things/x"),
            ("PUT", "/secrets"),
            ("GET", "/"),
            ("OPTIONS", "/secrets"),
            ("GET", f"/secrets/db/{VERSION}/x"),
        ):
            self.assertEqual(done(ask(method, path)), [("unknown", "unknown")], (method, path))

    def test_secrets_in_answers(self) -> None:
        """Values, backups and what a key decrypts; not what a list shows."""
        for method, path in (
            ("GET", "/secrets/db"),
            ("PUT", "/secrets/db"),
            ("POST", "/keys/k/backup"),
            ("POST", f"/keys/k/{VERSION}/decrypt"),
        ):
            self.assertEqual(ask(method, path).secrets.paths, ("value",), path)
        self.assertFalse(ask("GET", "/secrets").secrets)
        self.assertFalse(ask("GET", "/keys/k").secrets)

    def test_resources_and_labels(self) -> None:
        """A secret is in its vault; labels are the operator's."""
        labelled = Service.of(target("keyvault", {"secrets/DB": ("payments",)}, name="Shop-KV"))
        (touch,) = call("GET", "/secrets/Db/", service=labelled).touches
        self.assertEqual(touch.resource.type, "Azure::Secret")
        self.assertEqual(touch.resource.id, "shop-kv/db")
        self.assertEqual(touch.resource.labels, {"payments"})
        self.assertIn(("Azure::Vault", "shop-kv"), above(touch))
        (deleted,) = call("GET", "/deletedsecrets/db", service=labelled).touches
        self.assertEqual(deleted.resource, touch.resource)

    def test_the_words_are_azures(self) -> None:
        """Where a built-in role names a data action of vaults, it is spelled as here."""
        ours = {row.operation.lower() for rows in ROWS.values() for row in rows}
        theirs = {
            name
            for name in known.operations().spelling
            if name.startswith("microsoft.keyvault/vaults/") and name in ours
        }
        self.assertGreater(len(theirs), 12)
        for word in ("secrets/getsecret/action", "keys/sign/action", "secrets/setsecret/action"):
            self.assertIn(f"microsoft.keyvault/vaults/{word}", theirs)


class NamesTests(SynchronousTestCase):
    """Names are letters, digits and hyphens, in any case."""

    def test_other_names_are_refused(self) -> None:
        for path in ("/secrets/a%2Fb", "/secrets/a.b", "/secrets/%20", "/secrets//", "/secrets/ä"):
            with self.assertRaises(UnclearRequestError, msg=path):
                ask("GET", path)

    def test_a_slash_only_where_a_version_is_left_out(self) -> None:
        for path in ("/secrets/", "/secrets/db/versions/", f"/secrets/db/{VERSION}/"):
            with self.assertRaises(UnclearRequestError, msg=path):
                ask("GET", path)

    @given(
        st.sampled_from(["GET", "PUT", "PATCH", "POST", "DELETE"]),
        st.lists(
            st.sampled_from(
                ["secrets", "keys", "certificates", "restore", "backup", "issuers", "x"]
            ),
            max_size=4,
        ),
    )
    def test_case_changes_nothing(self, method: str, words: list[str]) -> None:
        """Upper and lower are the same request."""
        path = "/".join(words)
        self.assertEqual(ask(method, f"/{path}").touches, ask(method, f"/{path.upper()}").touches)
