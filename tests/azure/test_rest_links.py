"""Tests for links in answers of REST services, and what is looked for in them."""

from __future__ import annotations

import json
from typing import Any, Final

from hoopgw.errors import ConfigError, DocumentError
from hoopgw.http.messages import Headers, ResponseHead
from hoopgw.sessions.refusals import RefusedError
from hoopgw_azure.links import Links
from hoopgw_azure.model import AzureModel
from hoopgw_azure.operations import Service
from tests.azure.model_case import CALLER, ModelCase
from tests.azure.world import HOST, target


class RestLinkTests(ModelCase):
    """Links of REST services, which are to lead to the gateway as those of Azure do."""

    OWN: Final = "https://shop.example/v1/orders?page=2"
    OURS: Final = f"https://{HOST}/v1/orders?page=2"
    OTHER: Final = "https://evil.example/x"

    def model(self, **options: Any) -> AzureModel:
        """Return a service."""
        rule = {"name": "orders", "method": "GET", "path": "/v1/orders"}
        service = Service.of(target("rest", operations=[rule], hosts=["shop.example"], **options))
        return AzureModel(service, Links(service.hosts, service.leaves_foreign))

    def shown(self, said: Any, **options: Any) -> Any:
        """Return what is shown of an answer."""
        model = self.model(**options)
        return self.show(self.plan("GET", "/v1/orders", model=model), said, model=model)[1]

    def answered(
        self, status: int, content_type: str = "application/json", **fields: str
    ) -> ResponseHead:
        """Return an answer's head."""
        given = [(name.replace("_", "-").encode(), v.encode()) for name, v in fields.items()]
        return ResponseHead(status, Headers.of([*given, (b"Content-Type", content_type.encode())]))

    def test_usual_names(self) -> None:
        for said in (
            {"next": self.OWN},
            {"links": {"next": self.OWN}},
            {"links": [{"rel": "next", "href": self.OWN}]},
            {"_links": {"next": {"href": self.OWN}, "items": [{"href": self.OWN}]}},
            {"@odata.nextLink": self.OWN},
        ):
            ours = json.loads(json.dumps(said).replace(self.OWN, self.OURS))
            self.assertEqual(self.shown(said), ours)
        for link in ("cursor-1", 2, "/v1/orders?page=2"):
            self.assertEqual(self.shown({"next": link}), {"next": link})

    def test_others_stay(self) -> None:
        """What is not named is data, and shown as it is."""
        said = {"homepage": self.OWN, "orders": [{"next": self.OTHER}]}
        self.assertEqual(self.shown(said), said)

    def test_names_of_the_operators(self) -> None:
        shown = self.shown({"more": self.OWN, "next": self.OWN}, links=["more"])
        self.assertEqual(shown, {"more": self.OURS, "next": self.OWN})
        self.assertEqual(self.shown({"next": self.OTHER}, links=["other"]), {"next": self.OTHER})

    def test_foreign_ones(self) -> None:
        """The answer is not shown, or shown as it is: as the operator says."""
        model = self.model()
        plan = self.plan("GET", "/v1/orders", model=model)
        for link in (self.OTHER, "//evil.example/x", "http://shop.example/x"):
            with self.assertRaises(DocumentError):
                self.shown({"next": link})
            refusal = self.refused(plan, {}, model=model, Location=link)
            self.assertEqual(refusal.kind, "withheld")
            said = {"next": link}
            self.assertEqual(self.shown(said, foreign_links="leave"), said)
            left = self.model(foreign_links="leave")
            shown, _body = self.show(
                plan, {}, model=left, Location=link, Link=f"<{link}>; rel=next"
            )
            self.assertEqual(shown.head.headers.get(b"location"), link.encode())
            self.assertEqual(shown.head.headers.get(b"link"), f"<{link}>; rel=next".encode())

    def test_fields(self) -> None:
        model = self.model()
        plan = self.plan("GET", "/v1/orders", model=model)
        shown, _body = self.show(
            plan,
            {},
            model=model,
            Location=self.OWN,
            Content_Location=self.OWN,
            Link=f"<{self.OWN}>; rel=next",
        )
        fields = shown.head.headers
        self.assertEqual(fields.get(b"location"), self.OURS.encode())
        self.assertEqual(fields.get(b"content-location"), self.OURS.encode())
        self.assertEqual(fields.get(b"link"), f"<{self.OURS}>; rel=next".encode())

    def test_detectors(self) -> None:
        """Of which the operator says what is looked for."""
        said = {"note": "write to bob@shop.example", "url": "https://x/?sig=abc"}
        self.assertEqual(self.shown(said), said)
        shown = self.shown(said, detect=["email", "sas"])
        self.assertEqual(shown, {"note": "write to ***", "url": "https://x/?sig=***"})

    def test_what_is_passed_unread(self) -> None:
        """An answer without links; but not where more is done with it, nor a part of one."""
        limited = {"max_bytes": 1000}
        for clear, options, fields in (
            (True, {}, {}),
            (True, {"links": ["more"]}, {"Content_Length": "13"}),
            (False, {"detect": ["sas"]}, {}),
            (False, limited, {}),
            (False, {"max_items": 9}, {}),
            (False, {}, {"Content_Encoding": "gzip"}),
        ):
            with self.subTest(options=options, fields=fields):
                model = self.model(**options)
                plan = self.plan("GET", "/v1/orders", model=model)
                head = self.answered(200, ETag="x", **fields)
                shown = model.show(plan, head, {}, CALLER)
                self.assertEqual(shown.lookout is not None, clear)
                self.assertEqual(shown.untouched is not None, clear)
                assert shown.transform is not None
                self.assertNotIn(b"etag", shown.head.headers)
                if shown.untouched is not None:
                    self.assertEqual(shown.untouched.headers.get(b"etag"), b"x")
        model = self.model()
        plan = self.plan("GET", "/v1/orders", model=model)
        self.assertIsNone(model.show(plan, self.answered(206), {}, CALLER).lookout)
        other = self.answered(200, content_type="application/json; charset=utf-16")
        self.assertRaises(RefusedError, model.show, plan, other, {}, CALLER)

    def test_options(self) -> None:
        for options in (
            {"links": ["a b"]},
            {"links": "next"},
            {"foreign_links": "follow"},
            {"detect": ["everything"]},
            {"detect": "sas"},
        ):
            with self.subTest(options=options), self.assertRaises(ConfigError):
                self.model(**options)
