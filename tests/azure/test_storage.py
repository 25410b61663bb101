"""Blob storage's data plane."""

from __future__ import annotations

from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ConfigError
from hoopgw_azure.calls import Call
from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.operations import Service
from tests.azure.world import BLOBS, above, asked, call, context, done, ids, target, verbs

SOURCE: Final = "https://blobs.gw.example/in/a.txt"
EMULATED: Final = Service.of(target("storage", name="devstoreaccount1", name_in_path=True))


def ask(method: str, url: str, **headers: str) -> Call:
    """Return what a request to the account is."""
    return call(method, url, None, BLOBS, **headers)


class OperationTests(SynchronousTestCase):
    """Method, path and query to the data action."""

    def test_operations(self) -> None:
        containers = "blobservices/containers"
        blobs = f"{containers}/blobs"
        for method, url, verb, action in (
            ("GET", "/?comp=list", "listData", f"{containers}/read"),
            ("GET", "/?restype=service&comp=properties", "readData", "blobservices/read"),
            ("GET", "/c?restype=container&comp=list", "listData", f"{blobs}/read"),
            ("PUT", "/c?restype=container", "writeData", f"{containers}/write"),
            ("DELETE", "/c?restype=container", "deleteData", f"{containers}/delete"),
            ("HEAD", "/c?restype=container", "listData", f"{containers}/read"),
            ("PUT", "/c?restype=container&comp=acl", "grant", f"{containers}/setacl/action"),
            ("PUT", "/c?restype=container&comp=lease", "writeData", f"{containers}/lease/action"),
            ("GET", "/c/dir/a.txt", "readData", f"{blobs}/read"),
            ("HEAD", "/c/a.txt", "listData", f"{blobs}/read"),
            ("PUT", "/c/a.txt", "writeData", f"{blobs}/write"),
            ("PUT", "/c/a.txt?comp=block&blockid=QQ==", "writeData", f"{blobs}/write"),
            ("PUT", "/c/a.txt?comp=blocklist", "writeData", f"{blobs}/write"),
            ("PUT", "/c/a.txt?comp=tags", "writeData", f"{blobs}/tags/write"),
            ("PUT", "/c/a.txt?comp=lease", "writeData", f"{blobs}/write"),
            ("GET", "/c/a.txt?comp=metadata", "listData", f"{blobs}/read"),
            ("DELETE", "/c/a.txt", "deleteData", f"{blobs}/delete"),
            ("GET", "/$root/a.txt", "readData", f"{blobs}/read"),
        ):
            wanted = [(verb, f"microsoft.storage/storageaccounts/{action}")]
            self.assertEqual(done(ask(method, url)), wanted, (method, url))

    def test_a_delegation_key_is_minted(self) -> None:
        found = ask("POST", "/?restype=service&comp=userdelegationkey")
        self.assertEqual(verbs(found), {"mint"})
        self.assertTrue(found.mints and found.secrets.everything)

    def test_public_access_is_a_grant(self) -> None:
        found = ask("PUT", "/c?restype=container", x_ms_blob_public_access="blob")
        self.assertEqual(verbs(found), {"writeData", "grant"})

    def test_what_is_not_known(self) -> None:
        """Other parts of the interface, and one segment that may be a blob of $root."""
        for method, url in (
            ("GET", "/c/a.txt?comp=new"),
            ("GET", "/c/a.txt?restype=container"),
            ("PUT", "/c"),
            ("GET", "/a.txt"),
            ("PUT", "/c?restype=directory"),
            ("PATCH", "/c/a.txt"),
            ("POST", "/c/a.txt"),
            ("GET", "/"),
        ):
            self.assertEqual(verbs(ask(method, url)), {"unknown"}, (method, url))

    def test_batches_and_doubles_are_refused(self) -> None:
        for method, url in (
            ("POST", "/?comp=batch"),
            ("POST", "/c?restype=container&comp=batch"),
            ("GET", "/c?restype=container&comp=list&comp=acl"),
            ("GET", "/c?restype=container&Comp=list&comp=metadata"),
        ):
            with self.assertRaises(UnclearRequestError, msg=url):
                ask(method, url)

    def test_resources(self) -> None:
        """A blob's name keeps its case and its slashes."""
        (touch,) = ask("GET", "/c/Dir/A.txt/").touches
        self.assertEqual(touch.resource.id, "shopdata/c/Dir/A.txt/")
        self.assertEqual(
            above(touch),
            {
                ("Azure::Container", "shopdata/c"),
                ("Azure::Account", "shopdata"),
                ("Hoopgw::Target", "storage"),
                ("Hoopgw::Environment", "prod"),
            },
        )

    def test_an_emulators_paths(self) -> None:
        """The account comes first; another account's is refused."""
        found = EMULATED.call(asked("GET", "/devstoreaccount1/c/a.txt"))
        self.assertEqual(ids(found, "readData"), ["devstoreaccount1/c/a.txt"])
        for url in ("/other/c/a.txt", "/"):
            with self.assertRaises(UnclearRequestError):
                EMULATED.call(asked("GET", url))


class SignedTests(SynchronousTestCase):
    """Whoever holds the account's key is everybody: no such request is taken."""

    def test_keys_and_signatures(self) -> None:
        for url, headers in (
            ("/c/a.txt", {"authorization": "SharedKey shopdata:xyz"}),
            ("/c/a.txt", {"authorization": "sharedkeylite shopdata:xyz"}),
            ("/c/a.txt?sv=2024-01-01&sr=b&sig=abc", {}),
            ("/c/a.txt?SIG=abc", {}),
            ("/c/a.txt?sr=b&se=2030-01-01", {}),
            ("/c/a.txt", {"x_ms_copy_source": f"{SOURCE}?sv=1&sig=abc"}),
            ("/c/a.txt", {"x_ms_copy_source": f"{SOURCE}?%73ig=abc"}),
            ("/c/a.txt", {"x_ms_copy_source_authorization": "Bearer x"}),
        ):
            with self.assertRaises(UnclearRequestError, msg=url) as caught:
                ask("PUT", url, **headers)
            self.assertNotIn("abc", str(caught.exception))

    def test_a_token_is_taken(self) -> None:
        self.assertEqual(verbs(ask("GET", "/c/a.txt", authorization="Bearer x")), {"readData"})


class CopyTests(SynchronousTestCase):
    """A copy reads its source."""

    def test_within_the_account(self) -> None:
        found = ask("PUT", "/out/a.txt", x_ms_copy_source=SOURCE)
        self.assertEqual(ids(found, "writeData"), ["shopdata/out/a.txt"])
        self.assertEqual(ids(found, "readData"), ["shopdata/in/a.txt"])

    def test_from_elsewhere(self) -> None:
        """Another host, and a source that may be read in two ways, are unknown."""
        for source in (
            "https://evil.example/in/a.txt",
            "https://blobs.gw.example.evil.example/in/a.txt",
            "https://blobs.gw.example@evil.example/in/a.txt",
            "https://blobs.gw.example/in/%2e%2e/secret/a.txt",
            "https://blobs.gw.example/in/../secret/a.txt",
            "https://blobs.gw.example//in/a.txt",
            "https://blobs.gw.example/in",
            "/in/a.txt",
        ):
            found = ask("PUT", "/out/a.txt", x_ms_copy_source=source)
            self.assertIn("unknown", verbs(found), source)
            self.assertEqual(context(found)["opaque"], ("copySource",))

    def test_within_an_emulator(self) -> None:
        """Another account of the same host is another account."""
        service = Service.of(
            target("storage", name="dev1", name_in_path=True, host="127.0.0.1:10000")
        )
        for source, verb in (
            ("https://127.0.0.1:10000/dev1/in/a.txt", "readData"),
            ("https://127.0.0.1:10000/dev2/in/a.txt", "unknown"),
        ):
            found = call("PUT", "/dev1/out/a.txt", None, service, x_ms_copy_source=source)
            self.assertEqual(verbs(found), {"writeData", verb})

    def test_the_host_is_one(self) -> None:
        for host in ("", 5, ["a"]):
            self.assertRaises(ConfigError, Service.of, target("storage", host=host))
