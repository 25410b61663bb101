"""Tests for `hoopgw_azure.blob_masking`: labelled metadata, properties and tags of blobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.http.messages import Headers, RequestHead, ResponseHead
from hoopgw.http.model import Caller, Shown
from hoopgw.policy.decision import Hidden, Sight, Sights
from hoopgw.sessions.refusals import RefusedError
from hoopgw_azure.links import Links
from hoopgw_azure.model import AzureModel
from hoopgw_azure.operations import Service
from tests.azure.world import HOST, target

BLOBS: Final = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
CONTAINERS: Final = "Microsoft.Storage/storageAccounts/blobServices/containers"
CALLER: Final = Caller(
    account="a", chain=("corp|alice",), session="s-1", authority=HOST, seal=b"s" * 32
)
LIST: Final = "/c?restype=container&comp=list&include=metadata,tags"
LISTED: Final = (
    b'<EnumerationResults ContainerName="c"><Blobs><Blob><Name>a</Name><Properties><Content-MD5>m'
    b"</Content-MD5></Properties><Metadata><Owner>alice</Owner><kind>x</kind></Metadata><Tags>"
    b"<TagSet><Tag><Key>k</Key><Value>secret</Value></Tag></TagSet></Tags></Blob></Blobs>"
    b"</EnumerationResults>"
)
TAGS: Final = b"<Tags><TagSet><Tag><Key>k</Key><Value>secret</Value></Tag></TagSet></Tags>"


class BlobMaskingTests(SynchronousTestCase):
    """One label, and all the ways in which what it is for comes back."""

    def setUp(self) -> None:
        self.label(f"{BLOBS}#Metadata.owner", f"{BLOBS}#Tags.TagSet.Tag.Value")

    def label(self, *labels: str) -> None:
        """Set the target's labels."""
        service = Service.of(target("storage", dict.fromkeys(labels, ("pii",)), name="shopdata"))
        self.model = AzureModel(service, Links(frozenset()), key=b"k" * 32)

    def show(
        self,
        path: str,
        body: bytes = b"",
        *,
        method: str = "GET",
        kind: str | None = None,
        media: str = "application/xml",
        asked: tuple[tuple[bytes, bytes], ...] = (),
        fields: Mapping[str, str] | None = None,
    ) -> tuple[Shown, bytes]:
        """Return how an answer is shown; ``kind``: the mask that policy says, else nothing is."""
        head = RequestHead(method, path, Headers.of([(b"Host", HOST.encode()), *asked]))
        plan = self.model.plan(head, b"", CALLER)
        said: Sights = {
            each.id: Hidden(reason="no") if kind is None else Sight(mask=kind)
            for each in plan.fields
        }
        given = [(name.encode(), each.encode()) for name, each in (fields or {}).items()]
        answered = Headers.of([(b"Content-Type", media.encode()), *given])
        shown = self.model.show(plan, ResponseHead(200, answered), said, CALLER)
        if shown.transform is None:
            return shown, body
        shown.transform.receive_data(body)
        shown.transform.receive_end()
        return shown, b"".join(iter(shown.transform.next_piece, None))

    def test_in_a_list(self) -> None:
        _shown, out = self.show(LIST, LISTED)
        wanted = LISTED.replace(b"alice", b"***").replace(b"secret", b"***")
        self.assertEqual(out.partition(b"?>")[2], wanted)
        _shown, out = self.show(LIST, LISTED, kind="last4")
        self.assertIn(b"<Owner>", out)
        self.assertNotIn(b"alice", out)

    def test_in_header_fields(self) -> None:
        """Of the blob itself too, whatever it is; the blob and its parts are shown."""
        given = {"x-ms-meta-owner": "alice", "x-ms-meta-kind": "x", "content-md5": "m"}
        for method, path, more in (
            ("HEAD", "/c/a", {}),
            ("GET", "/c/a", {}),
            ("GET", "/c/a?comp=metadata", {"content-length": "0"}),
        ):
            shown, out = self.show(
                path, b"\0\1", method=method, media="image/png", fields={**given, **more}
            )
            self.assertEqual(shown.head.headers.get(b"x-ms-meta-owner"), b"***")
            self.assertEqual(shown.head.headers.get(b"x-ms-meta-kind"), b"x")
            self.assertEqual(shown.head.headers.get(b"content-md5"), b"m")
            self.assertEqual((shown.transform, out), (None, b"\0\1"))
        shown, _out = self.show("/c/a", kind="null", media="image/png", fields=given)
        self.assertIsNone(shown.head.headers.get(b"x-ms-meta-owner"))

    def test_parts_of_blobs_stay_parts(self) -> None:
        part = (b"x-ms-range", b"bytes=0-9")
        head = RequestHead("GET", "/c/a", Headers.of([(b"Host", HOST.encode()), part]))
        self.assertEqual(self.model.plan(head, b"", CALLER).send.headers.get(part[0]), part[1])

    def test_tags_of_one_blob(self) -> None:
        _shown, out = self.show("/c/a?comp=tags", TAGS)
        self.assertEqual(out.partition(b"?>")[2], TAGS.replace(b"secret", b"***"))

    def test_tags_are_not_guessed(self) -> None:
        """By what is found by them, or by whether a condition of them holds."""
        where = "&where=%22k%22%3D%27secret%27"
        condition = ((b"x-ms-if-tags", b"\"k\" = 'secret'"),)
        for path, asked in (
            (f"/?comp=blobs{where}", ()),
            (f"/c?restype=container&comp=blobs{where}", ()),
            ("/c/a", condition),
        ):
            with self.assertRaisesRegex(RefusedError, "tags are masked here"):
                self.show(path, asked=asked)
            self.label(f"{BLOBS}#Metadata.owner")
            self.show(path, b"<EnumerationResults/>", asked=asked)
            for whole in ("Tags", "Tags.TagSet", "**.Value", "*"):
                self.label(f"{BLOBS}#{whole}")
                self.assertRaises(RefusedError, self.show, path, asked=asked)

    def test_containers(self) -> None:
        self.label(f"{CONTAINERS}#Metadata")
        answer = (
            b"<EnumerationResults><Containers><Container><Name>c</Name><Metadata><o>x</o></Metadata>"
            b"</Container></Containers></EnumerationResults>"
        )
        _shown, out = self.show("/?comp=list", answer)
        self.assertIn(b"<Name>c</Name><Metadata></Metadata>", out)
        shown, _out = self.show("/c?restype=container", method="HEAD", fields={"x-ms-meta-o": "x"})
        self.assertEqual(shown.head.headers.get(b"x-ms-meta-o"), b"***")
        shown, _out = self.show("/c/a", fields={"x-ms-meta-o": "x"})  # a blob's is another's
        self.assertEqual(shown.head.headers.get(b"x-ms-meta-o"), b"x")

    def test_properties(self) -> None:
        self.label(f"{BLOBS}#Properties.Content-MD5")
        _shown, out = self.show(LIST, LISTED)
        self.assertIn(b"<Content-MD5>***<", out)
        shown, _out = self.show("/c/a", fields={"content-md5": "m"})
        self.assertEqual(shown.head.headers.get(b"content-md5"), b"***")

    def test_what_is_not_known(self) -> None:
        """Of such an answer nobody knows where it says what is masked."""
        with self.assertRaisesRegex(RefusedError, "nothing is known"):
            self.show("/a.txt")
        with self.assertRaisesRegex(RefusedError, "not XML"):
            self.show(LIST, LISTED, media="application/json")

    def test_a_delegation_key(self) -> None:
        """Its answer is a secret as a whole, without any label."""
        self.label()
        answer = b"<UserDelegationKey><SignedOid>o</SignedOid><Value>v</Value></UserDelegationKey>"
        _shown, out = self.show("/?restype=service&comp=userdelegationkey", answer, method="POST")
        self.assertIn(b"<SignedOid>***</SignedOid><Value>***</Value>", out)
