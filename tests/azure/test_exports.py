"""Tests for `hoopgw_azure.exports`: how much of an answer is shown at once."""

from __future__ import annotations

import json
from typing import Any, Final

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ConfigError, DocumentLimitError
from hoopgw.http.messages import Headers, RequestHead, ResponseHead
from hoopgw.http.model import ITEMS, Caller, ExceededError, Shown, status_of
from hoopgw.policy.decision import Hidden
from hoopgw.sessions.purses import Listing
from hoopgw.sessions.refusals import RefusedError
from hoopgw_azure.exports import WINDOW, Bounded, Export
from hoopgw_azure.links import Links
from hoopgw_azure.model import AzureModel
from hoopgw_azure.operations import Service
from tests.azure.world import HOST, SUBSCRIPTION, target

GROUPS: Final = f"/subscriptions/{SUBSCRIPTION}/resourcegroups?api-version=2021-04-01"
CALLER: Final = Caller(
    account="a", chain=("corp|alice",), session="s-1", authority=HOST, seal=b"s" * 32
)
PATHS: Final = {"arm": GROUPS, "rest": "/v1/orders", "keyvault": "/secrets?api-version=7.4"}


def service(kind: str, **options: Any) -> Service:
    """Return a target."""
    if kind == "rest":
        rule = {"name": "orders", "method": "GET", "path": "/v1/orders"}
        options["operations"] = options.pop("rules", [rule])
    return Service.of(target(kind, **options))


def items(number: int) -> list[dict[str, int]]:
    """Return a list of so many."""
    return [{"n": each} for each in range(number)]


class ExportCase(SynchronousTestCase):
    """Answers of targets with limits."""

    def show(self, answer: object, kind: str = "arm", **given: Any) -> bytes:
        """Return what is shown of an answer; raises what refuses it. As `shown`."""
        sent = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return self.through(self.shown(answer, kind, **given), sent)

    def shown(
        self,
        answer: object,
        kind: str = "arm",
        *,
        path: str = "",
        method: str = "GET",
        status: int = 200,
        content_type: str = "application/json",
        length: bool = False,
        allowed: int | None = None,
        counted: bool = False,
        **options: Any,
    ) -> Shown:
        """Return how an answer is shown."""
        model = AzureModel(service(kind, **options), Links(frozenset()))
        head = RequestHead(method, path or PATHS[kind], Headers.of([(b"Host", HOST.encode())]))
        plan = model.plan(head, b"", CALLER)
        sent = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        given = [(b"Content-Type", content_type.encode())]
        given += [(b"Content-Length", b"%d" % len(sent))] if length else []
        hidden = {each.id: Hidden(reason="no") for each in plan.fields}
        answered = ResponseHead(status, Headers.of(given))
        return model.show(plan, answered, hidden, CALLER, allowed, counted=counted)

    def through(self, shown: Shown, sent: bytes) -> bytes:
        """Return what a body becomes."""
        transform = shown.transform
        if transform is None:
            return sent
        transform.receive_data(sent)
        transform.receive_end()
        pieces = []
        while (piece := transform.next_piece()) is not None:
            pieces.append(piece)
        return b"".join(pieces)


class ItemTests(ExportCase):
    """Items of lists."""

    def test_as_many_as_may_be(self) -> None:
        for kind in PATHS:
            with self.subTest(kind=kind):
                answer = {"value": items(3)}
                self.assertEqual(json.loads(self.show(answer, kind, allowed=3)), answer)
                self.assertRaises(DocumentLimitError, self.show, answer, kind, allowed=2)

    def test_the_smaller_of_two_limits(self) -> None:
        """The target's option, and what policy says."""
        for option, policy in ((2, None), (2, 9), (9, 2), (None, 2)):
            options: dict[str, Any] = {} if option is None else {"max_items": option}
            with self.subTest(option=option, policy=policy):
                self.show({"value": items(2)}, allowed=policy, **options)
                with self.assertRaises(DocumentLimitError):
                    self.show({"value": items(3)}, allowed=policy, **options)

    def test_wherever_a_list_is(self) -> None:
        """Queries, batches, and whatever REST services answer; names in any case."""
        batch = {"responses": [{"content": {"value": items(2)}}, {"content": {"value": items(1)}}]}
        for kind, answer in (
            ("arm", {"VALUE": items(3)}),
            ("arm", {"data": items(3)}),
            ("arm", {"data": {"rows": [[1], [2], [3]]}}),
            ("arm", {"properties": {"rows": [[1], [2], [3]]}}),
            ("arm", {"tables": [{"rows": [[1]]}, {"rows": [[2], [3]]}]}),
            ("arm", batch),
            ("arm", {"responses": [{"content": {"data": items(3)}}]}),
            ("rest", items(3)),
            ("rest", {"orders": items(3)}),
            ("rest", {"_embedded": {"orders": items(3)}}),
            ("rest", {"data": {"orders": {"nodes": items(3)}}}),
            ("rest", {"orders": [{"lines": items(9)}] * 3}),
        ):
            with self.subTest(answer=answer):
                self.show(answer, kind, allowed=3)
                self.assertRaises(DocumentLimitError, self.show, answer, kind, allowed=2)

    def test_lines_are_a_list(self) -> None:
        lines = b'{"n":1}\n{"n":2}\n{"n":3}\n'
        kind = "application/x-ndjson"
        self.show(lines, "rest", content_type=kind, allowed=3)
        with self.assertRaises(DocumentLimitError):
            self.show(lines, "rest", content_type=kind, allowed=2)

    def test_what_cannot_be_counted_is_not_shown(self) -> None:
        for kind, path, media in (
            ("arm", GROUPS, "text/csv"),
            ("storage", "/c?restype=container&comp=list", "application/vnd.apache.arrow.stream"),
        ):
            with self.subTest(kind=kind), self.assertRaises(RefusedError):
                self.show(b"<a/>", kind, path=path, content_type=media, allowed=5)

    def test_lists_of_blobs(self) -> None:
        """Blobs and the folders between them; containers; not what is said of one blob."""
        items = "<BlobPrefix><Name>d/</Name></BlobPrefix><Blob/><Blob/>"
        for path, body in (
            ("/c?restype=container&comp=list", f"<Blobs>{items}</Blobs>"),
            ("/?comp=list", "<Containers><Container/><Container/><Container/></Containers>"),
        ):
            answer = f"<EnumerationResults>{body}</EnumerationResults>".encode()
            options: dict[str, Any] = {"path": path, "content_type": "application/xml"}
            self.show(answer, "storage", allowed=3, **options)
            with self.assertRaisesRegex(DocumentLimitError, "more than 2 items"):
                self.show(answer, "storage", allowed=2, **options)
            shown = self.shown(answer, "storage", counted=True, **options)
            self.through(shown, answer)
            assert shown.transform is not None
            self.assertEqual(shown.transform.counts[ITEMS], 3)

    def test_a_blob_is_no_list(self) -> None:
        media = "application/octet-stream"
        shown = self.show(b"x" * 9, "storage", path="/c/a", content_type=media, allowed=1)
        self.assertEqual(shown, b"x" * 9)

    def test_errors_are_shown(self) -> None:
        self.show(b"<html>", status=502, content_type="text/html", allowed=1)


class SizeTests(ExportCase):
    """Bytes."""

    def test_a_length_that_is_known(self) -> None:
        """Nothing of it is shown; and what only says a length is none."""
        with self.assertRaises(ExceededError) as caught:
            self.show({"value": "x" * 99}, length=True, max_bytes=50)
        self.assertEqual(status_of(caught.exception.refusal), 403)
        self.assertIn("Ask for less", caught.exception.refusal.hint)
        self.show({"value": "x"}, length=True, max_bytes=50)
        self.show({"value": "x" * 99}, length=True, max_bytes=50, method="HEAD")

    def test_a_length_that_is_not(self) -> None:
        for kind, path, media in (
            ("arm", GROUPS, "application/json"),
            ("storage", "/c/a", "application/octet-stream"),
            ("storage", "/c?restype=container&comp=list", "application/xml"),
        ):
            body = json.dumps("x" * 48).encode()
            options: dict[str, Any] = {"path": path, "content_type": media, "max_bytes": 50}
            with self.subTest(kind=kind, media=media):
                self.assertEqual(self.show(body, kind, **options), body)
                self.assertRaises(DocumentLimitError, self.show, body + b" ", kind, **options)

    def test_pieces(self) -> None:
        bounded = Bounded(5)
        for piece in (b"abc", b"de"):
            bounded.receive_data(piece)
            self.assertEqual(bounded.next_piece(), piece)
        self.assertIsNone(bounded.next_piece())
        bounded.receive_data(b"f")
        self.assertRaises(DocumentLimitError, bounded.next_piece)


class ListingTests(ExportCase):
    """Of which list an answer is a page."""

    def listing(self, path: str, kind: str = "arm", **options: Any) -> Listing | None:
        """Return the list that a request is about."""
        return self.shown(b"{}", kind, path=path, **{"max_items": 5, **options}).listing

    def test_all_parts_of_a_list_are_one(self) -> None:
        first = self.listing(GROUPS)
        assert first is not None
        self.assertEqual((first.target, first.rows, first.bytes), ("arm", 5, None))
        self.assertEqual(first.window, WINDOW)
        for path in (
            f"{GROUPS}&$top=1",
            f"{GROUPS}&%24skiptoken=a",
            GROUPS.replace("2021", "2022"),
            GROUPS.replace("resourcegroups", "resourceGroups"),
        ):
            self.assertEqual(self.listing(path), first, path)
        self.assertNotEqual(self.listing(GROUPS.replace("resourcegroups", "resources")), first)
        vault = self.listing("/secrets?api-version=7.4&maxresults=1", "keyvault")
        self.assertEqual(self.listing("/secrets?api-version=7.4", "keyvault"), vault)

    def test_pages_in_a_path(self) -> None:
        """A REST service may have them there; the operator says so."""
        rule = {"name": "orders", "method": "GET", "path": "/v1/{shop}/orders/{page}"}
        one, two, other = "/v1/a/orders/1", "/v1/A/orders/2", "/v1/b/orders/1"
        plain, said = ({"rules": [{**rule, **more}]} for more in ({}, {"pages": ["page"]}))
        self.assertNotEqual(self.listing(one, "rest", **plain), self.listing(two, "rest", **plain))
        self.assertEqual(self.listing(one, "rest", **said), self.listing(two, "rest", **said))
        self.assertNotEqual(self.listing(one, "rest", **said), self.listing(other, "rest", **said))
        with self.assertRaises(ConfigError):
            self.listing(one, "rest", rules=[{**rule, "pages": ["order"]}])

    def test_only_where_there_is_a_limit(self) -> None:
        self.assertIsNone(self.listing(GROUPS, window=0))
        self.assertIsNone(self.listing(GROUPS, max_items=None))
        found = self.listing(GROUPS, max_items=None, max_bytes=9, window=60)
        self.assertEqual((found and found.bytes, found and found.window), (9, 60))

    def test_errors_and_heads_are_no_part_of_it(self) -> None:
        self.assertIsNone(self.shown(b"{}", status=404, max_items=5).listing)
        self.assertIsNone(self.shown(b"", method="HEAD", max_bytes=5).listing)

    def test_a_budget_of_items_counts_them(self) -> None:
        """Where they can be counted; nothing is refused by that alone."""
        for answer, media, count in (
            ({"value": items(3)}, "application/json", 3),
            (b'{"n":1}\n{"n":2}\n', "application/x-ndjson", 2),
        ):
            shown = self.shown(answer, content_type=media, counted=True)
            self.through(
                shown, answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            )
            assert shown.transform is not None
            self.assertEqual(shown.transform.counts.get(ITEMS), count)
        self.assertIsNone(self.shown(b"a,b", content_type="text/csv", counted=True).transform)


class OptionTests(SynchronousTestCase):
    """What the configuration may say."""

    def test_numbers(self) -> None:
        found = Export.of({"max_items": 5, "max_bytes": 10})
        self.assertEqual((found.items, found.size), (5, 10))
        for wrong in (0, -1, "5", True, 1.5):
            for name in ("max_items", "max_bytes"):
                self.assertRaises(ConfigError, Export.of, {name: wrong})
        for window in (-1, 86_401, "60", True):
            self.assertRaises(ConfigError, Export.of, {"window": window})

    def test_of_every_kind_of_target(self) -> None:
        for kind in ("arm", "keyvault", "storage", "rest"):
            found = service(kind, max_items=5, max_bytes=10)
            self.assertEqual(found.export, Export(items=5, size=10))
