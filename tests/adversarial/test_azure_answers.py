"""Attacks on what is shown of Azure's answers, and on addresses that the gateway has sealed."""

from __future__ import annotations

import json
from typing import Final

from hoopgw.policy.decision import Sight
from hoopgw.sessions.refusals import RefusedError
from hoopgw_azure.links import Links
from hoopgw_azure.model import AzureModel
from hoopgw_azure.operations import Service
from tests.azure.model_case import AZURE, KEYS, STORAGE, ModelCase
from tests.azure.world import GROUP, HOST, SUBSCRIPTION, target

TAGS: Final = f"{STORAGE}?api-version=2023-01-01"
STATE: Final = (
    f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Storage/locations/west/operations/1"
)
THINGS: Final = [
    {"name": "make", "method": "POST", "path": "/things"},
    {"name": "thing", "method": "GET", "path": "/things/{id}", "secrets": ["key"]},
]


class SealTests(ModelCase):
    """A seal opens the state of one operation, and nothing else."""

    def sealed(self, location: str, model: AzureModel | None = None, status: int = 202) -> str:
        """Begin something without secrets; return where the client is told to ask."""
        plan = self.plan("PATCH", TAGS, {"tags": {}})
        if model is not None:
            plan = self.plan("POST", "/things", {}, model)
        shown, _body = self.show(plan, {}, status=status, model=model, Location=location)
        found = (shown.head.headers.get(b"location") or b"").decode()
        return found.removeprefix(f"https://{HOST}")

    def test_the_address_of_a_resource(self) -> None:
        """As after 201: who may make it, but not read it, is not let in by that."""
        where = self.sealed(f"{AZURE}{TAGS}", status=201)
        self.assertNotIn("hoopgw-poll", where)
        plan = self.plan("GET", where)
        self.assertEqual({each.action for each in plan.operation.accesses}, {"Azure::read"})

    def test_of_another_service(self) -> None:
        """Which can be made to say any address."""
        service = Service.of(target("rest", operations=THINGS, hosts=["api.example"]))
        model = AzureModel(service, Links(frozenset({"api.example"})))
        where = self.sealed("https://api.example/things/7", model)
        plan = self.plan("GET", where, model=model)
        self.assertEqual({each.action for each in plan.operation.accesses}, {"Rest::read"})
        _shown, body = self.show(plan, {"key": "k-1"}, model=model)
        self.assertNotIn("k-1", json.dumps(body))

    def test_with_another_query(self) -> None:
        """The query may choose what is answered; only the version of the API is the client's."""
        where = self.sealed(f"{AZURE}{STATE}?monitor=true&api-version=1")
        self.plan("GET", where.replace("api-version=1", "api-version=2"))
        for changed in (
            where.replace("monitor=true", "monitor=false"),
            where + "&$expand=kerb",
            where.replace("monitor=true&", ""),
            where.replace("true", "true&monitor=false"),
        ):
            with self.subTest(changed=changed[:120]):
                self.assertRaises(RefusedError, self.plan, "GET", changed)

    def test_labels_of_what_was_begun(self) -> None:
        """What the operator has labelled of a type is masked in its operations' answers, too."""
        label = {"microsoft.storage/storageaccounts#properties.secretPlan": ("pii",)}
        model = AzureModel(
            Service.of(target("arm", label)), Links(frozenset({"management.azure.com"}))
        )
        plan = self.plan("PUT", TAGS, {"tags": {}}, model)
        shown, _body = self.show(
            plan, {}, status=202, model=model, Location=f"{AZURE}{STATE}?api-version=1"
        )
        where = (shown.head.headers.get(b"location") or b"").decode()
        plan = self.plan("GET", where.removeprefix(f"https://{HOST}"), model=model)
        _shown, body = self.show(plan, {"properties": {"secretPlan": "x-1"}}, model=model)
        self.assertNotIn("x-1", json.dumps(body))

    def test_what_may_be_seen_goes_by_what_was_begun(self) -> None:
        """A policy about storage accounts holds of the keys that an operation on one returns."""
        shown, _body = self.show(
            self.plan("POST", KEYS), {}, status=202, Location=f"{AZURE}{STATE}?api-version=1"
        )
        where = (shown.head.headers.get(b"location") or b"").decode()
        plan = self.plan("GET", where.removeprefix(f"https://{HOST}"))
        self.assertTrue(plan.fields)
        for each in plan.fields:
            self.assertIn("shopdata", each.id)

    def test_the_parameter_in_disguise(self) -> None:
        """Nothing of ours goes to Azure, and nothing of the client's is taken for ours."""
        where = self.sealed(f"{AZURE}{STATE}?api-version=1")
        for name in ("hoopgw%2Dpoll", "HoopGW-Poll", "hoopgw-pol%6C"):
            plan = self.plan("GET", where.replace("hoopgw-poll", name))
            self.assertEqual(plan.send.target, f"{STATE}?api-version=1")
        plan = self.plan("GET", f"{GROUP}?api-version=1&hoopgw-pollx=1")
        self.assertIn("hoopgw-pollx=1", plan.send.target)

    def test_addresses_that_cannot_be_read(self) -> None:
        """A hostile target's: the fault is not the client's."""
        plan = self.plan("PATCH", TAGS, {"tags": {}})
        for where in ("https://management.azure.com/a%zz", "operations", "/a/../b", "?x=%zz"):
            with self.subTest(where=where):
                try:
                    shown, _body = self.show(plan, {}, status=202, Location=where)
                except RefusedError as error:
                    self.assertEqual(error.refusal.kind, "withheld")
                else:
                    self.assertNotIn(b"hoopgw-poll", shown.head.headers.get(b"location") or b"")


class MaskTests(ModelCase):
    """Ways around masks."""

    def labelled(self) -> AzureModel:
        """Return a service of which a field is labelled."""
        return AzureModel(
            Service.of(
                target("rest", {"thing#key": ("pii",)}, operations=THINGS, hosts=["api.example"])
            ),
            Links(frozenset({"api.example"})),
        )

    def test_a_part_of_the_answer(self) -> None:
        """A part can be JSON of its own, in which the secret has another place."""
        model = self.labelled()
        plan = self.plan("GET", "/things/1", model=model, Range="bytes=8-13", X_Ms_Range="bytes=8-")
        self.assertNotIn(b"range", plan.send.headers)
        self.assertNotIn(b"x-ms-range", plan.send.headers)
        refusal = self.refused(plan, b'"k-1"', status=206, model=model)
        self.assertEqual(refusal.kind, "withheld")

    def test_a_batch_hides_no_labels(self) -> None:
        """Their paths do not hold inside of the batch's answer."""
        label = {"microsoft.storage/storageaccounts#properties.plan": ("pii",)}
        model = AzureModel(Service.of(target("arm", label)), Links(frozenset()))
        for url, fits in ((TAGS, False), (f"{GROUP}?api-version=2021-04-01", True)):
            one = {"httpMethod": "GET", "name": "a", "url": url}
            batch = "/batch?api-version=2020-06-01", {"requests": [one]}
            if fits:
                self.plan("POST", *batch, model)
            else:
                self.assertRaises(RefusedError, self.plan, "POST", *batch, model)

    def test_fields_that_lead_past_us(self) -> None:
        """Clients follow them with the token that they have for us."""
        plan = self.plan("GET", f"{GROUP}?api-version=2021-04-01")
        shown, _body = self.show(
            plan, {}, Link=f'<{AZURE}/a?b=1>; rel="next", </c>; rel=x', Alt_Svc='h3="evil:443"'
        )
        self.assertEqual(
            shown.head.headers.get(b"link"),
            f'<https://{HOST}/a?b=1>; rel="next", </c>; rel=x'.encode(),
        )
        self.assertNotIn(b"alt-svc", shown.head.headers)
        for link in ("https://evil.example/", "//evil.example/", " https://evil.example/"):
            shown, _body = self.show(plan, {}, Link=f'<{AZURE}/a>; rel="first", <{link}>; rel=next')
            self.assertNotIn(b"link", shown.head.headers)
        shown, _body = self.show(plan, {}, Refresh="0; url=https://evil.example/")
        self.assertNotIn(b"refresh", shown.head.headers)

    def test_addresses_that_clients_read_otherwise(self) -> None:
        """Some take a backslash for a slash, leave blanks out, and forgive slashes."""
        links = Links(frozenset({"management.azure.com"}))
        for link in (
            *("http:evil.example/x", "https:/evil.example", "https:evil.example", "HTTP:\\\\evil"),
            *("/\\evil.example", "\\\\evil.example", "\\/evil.example", " https://evil.example"),
            *("\x01https://evil.example", "ht\ntps://evil.example", "/\t/evil.example"),
            *("https://management.azure.com\\@evil.example/", "\n//evil.example"),
            "https://evil.example\\.management.azure.com/",
        ):
            with self.subTest(link=link):
                self.assertIsNone(links.rewritten(link, HOST))
        for link in ("name", "/a/b", "a:b", "", "v1.0/x?y=//z"):
            self.assertEqual(links.rewritten(link, HOST), link)
        self.assertEqual(links.rewritten(f" {AZURE}/a", HOST), f"https://{HOST}/a")

    def test_bodies_of_what_only_reads(self) -> None:
        """It would reach the target and be in no digest, no policy and no recording."""
        for method, fields in (
            ("GET", {"Content_Length": "2"}),
            ("HEAD", {"Content_Length": "2"}),
            ("GET", {"Transfer_Encoding": "chunked"}),
        ):
            head = self.head(method, KEYS, **fields)
            for model in (self.arm, self.vault, self.blobs, self.labelled()):
                with self.subTest(method=method, fields=fields):
                    error = self.assertRaises(RefusedError, model.collects, head)
                    self.assertEqual(error.refusal.kind, "malformed")
        self.assertEqual(self.arm.collects(self.head("GET", KEYS, Content_Length="0")), 0)

    def test_secrets_of_queries_and_settings_are_not_kept(self) -> None:
        url = f"{GROUP}/providers/Microsoft.Web/sites/s/functions/f?code=hunter2&api-version=1"
        plan = self.plan("GET", url)
        self.assertNotIn("hunter2", plan.operation.text)
        self.assertIn("hunter2", plan.send.target)
        settings = [
            {"name": "DB_PASSWORD", "value": "hunter2"},
            {"name": "SIZE", "value": "small"},
            {"name": "x", "secureValue": "hunter2"},
        ]
        body = {"properties": {"siteConfig": {"appSettings": settings}}}
        web = f"{GROUP}/providers/Microsoft.Web/sites/s?api-version=2022-03-01"
        kept = self.plan("PUT", web, body)
        for text in (kept.kept.decode(), kept.operation.text):
            self.assertNotIn("hunter2", text)
            self.assertIn("small", text)

    def test_no_sight_is_no_sight(self) -> None:
        """Of what policy says nothing, nothing is shown."""
        plan = self.plan("POST", KEYS)
        _shown, body = self.show(plan, {"keys": [{"value": "c2Vj"}]}, sights={})
        self.assertNotIn("c2Vj", json.dumps(body))
        other = {"x#*": Sight(mask=None)}
        _shown, body = self.show(plan, {"keys": [{"value": "c2Vj"}]}, sights=other)
        self.assertNotIn("c2Vj", json.dumps(body))
