"""Requests to a cluster as plans, and what is shown of its answers."""

from __future__ import annotations

import base64
import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ConfigError
from hoopgw.http.messages import Headers, RequestHead, ResponseHead
from hoopgw.http.model import Caller, Plan
from hoopgw.policy.decision import Sight, Sights
from hoopgw.sessions.refusals import Refusal, RefusalKind, RefusedError
from hoopgw.spi import TargetSettings
from hoopgw_kubernetes.model import KubernetesModel
from hoopgw_kubernetes.operations import Cluster

VALUE = "correct-horse-battery"
MASKED = base64.b64encode(b"***").decode()
CALLER = Caller(
    account="deployer", chain=("corp|alice",), session="s1", authority="gw:6443", seal=b"s" * 32
)
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
SECRET: dict[str, Any] = {
    "kind": "Secret",
    "metadata": {"name": "db", "annotations": {LAST_APPLIED: json.dumps({"stringData": VALUE})}},
    "data": {"password": base64.b64encode(VALUE.encode()).decode()},
}


def target(**labels: list[str]) -> TargetSettings:
    """Return a target with labels."""
    given = {name: tuple(each) for name, each in labels.items()}
    return TargetSettings(name="blue", protocol="kubernetes", agent="local", labels=given)


def model(**labels: list[str]) -> KubernetesModel:
    """Return a cluster's model."""
    return KubernetesModel(Cluster.of(target(**labels)), b"k" * 32)


def plan(
    path: str,
    method: str = "GET",
    body: bytes = b"",
    fields: tuple[tuple[bytes, bytes], ...] = (),
    of: KubernetesModel | None = None,
) -> Plan:
    """Read a request."""
    head = RequestHead(method, f"/clusters/blue{path}", Headers.of(fields))
    return (of or model()).plan(head, body or None, CALLER)


class PlanTests(SynchronousTestCase):
    """What a request is."""

    def test_what_the_server_gets(self) -> None:
        found = plan(
            "/api/v1/namespaces/a/pods?limit=500",
            fields=(
                (b"Accept", b"application/vnd.kubernetes.protobuf"),
                (b"Impersonate-User", b"admin"),
                (b"X-Remote-User", b"admin"),
                (b"Impersonate-Extra-Scopes", b"x"),
                (b"User-Agent", b"kubectl"),
            ),
        )
        self.assertEqual(found.send.target, "/api/v1/namespaces/a/pods?limit=500")
        self.assertEqual(
            found.send.headers.pairs,
            ((b"Accept", b"application/vnd.kubernetes.protobuf"), (b"User-Agent", b"hoopgw")),
        )
        self.assertEqual(found.fields, ())

    def test_what_policy_sees(self) -> None:
        operation = plan("/apis/apps/v1/namespaces/prod/deployments/web", "DELETE").operation
        (access,) = operation.accesses
        self.assertEqual(access.action, "Kubernetes::delete")
        self.assertEqual(access.resource.id, "blue/prod/deployments.apps/web")
        kinds = {each.type: each.id for each in access.resource.parents}
        self.assertEqual(
            kinds,
            {
                "Kubernetes::Kind": "deployments.apps",
                "Kubernetes::Namespace": "blue/prod",
                "Kubernetes::Cluster": "blue",
            },
        )
        self.assertEqual(operation.context["verb"], "delete")
        self.assertEqual(operation.action, "delete deployments.apps")

    def test_labels_of_the_operator(self) -> None:
        labels = {"namespaces/prod": ["live"], "prod/secrets/db": ["crown"]}
        (access,) = plan(
            "/api/v1/namespaces/prod/secrets/db", of=model(**labels)
        ).operation.accesses
        self.assertEqual(access.resource.labels, frozenset({"crown"}))
        spaces = [e for e in access.resource.parents if e.type == "Kubernetes::Namespace"]
        self.assertEqual(spaces[0].labels, frozenset({"live"}))

    def test_the_digest_covers_all_that_is_sent(self) -> None:
        path, media = "/api/v1/namespaces/a/pods", (b"Content-Type", b"application/json")
        digests = {
            each.operation.digest
            for each in (
                plan(path, "POST", b"{}", (media,)),
                plan(path, "POST", b"{ }", (media,)),
                plan(path, "POST", b"{}", ((b"Content-Type", b"application/yaml"),)),
                plan(f"{path}?dryRun=All", "POST", b"{}", (media,)),
                plan(f"{path}/x", "PUT", b"{}", (media,)),
            )
        }
        self.assertEqual(len(digests), 5)

    def test_a_delete_whose_options_are_in_its_body(self) -> None:
        """The server reads no query then: it is no dry run."""
        path = "/api/v1/namespaces/a/pods/x?dryRun=All"
        self.assertIs(plan(path, "DELETE").operation.context["dryRun"], True)
        self.assertIs(plan(path, "DELETE", b"{}").operation.context["dryRun"], False)

    def test_a_secret_is_not_kept(self) -> None:
        body = json.dumps(SECRET).encode()
        found = plan("/api/v1/namespaces/a/secrets", "POST", body)
        self.assertNotIn(VALUE, found.operation.text)
        self.assertEqual(found.kept, b"")
        shown = plan("/api/v1/namespaces/a/configmaps", "POST", b'{"data": {"a": "b"}}')
        self.assertIn('"a": "b"', shown.operation.text)

    def test_what_is_not_taken(self) -> None:
        patch = ((b"Content-Type", b"application/json-patch+json"),)
        again = json.dumps({"data": {"password": MASKED}}, separators=(",", ":")).encode()
        for path, method, body, fields in (
            ("/api/v1/namespaces/a/secrets/db", "PATCH", b"[]", patch),
            ("/api/v1/namespaces/a/secrets/db", "PUT", again, ()),
            ("/api/v1/namespaces/a/secrets/db", "PUT", b"k8s\0..\x12\x03***..", ()),
            ("/api/v1/namespaces/a/pods/x/exec?command=sh", "POST", b"", ()),
            ("/api/v1/%6eamespaces/a/secrets", "GET", b"", ()),
        ):
            with self.assertRaises(RefusedError):
                plan(path, method, body, fields)
        with self.assertRaises(RefusedError):
            model().plan(RequestHead("GET", "/clusters/green/api", Headers()), None, CALLER)
        plan("/api/v1/namespaces/a/configmaps/x", "PATCH", b"[]", patch)

    def test_a_get_with_a_body(self) -> None:
        head = RequestHead("GET", "/clusters/blue/api", Headers.of([(b"Content-Length", b"1")]))
        with self.assertRaises(RefusedError):
            model().collects(head)

    def test_what_goes_on(self) -> None:
        for path, follows in (
            ("/api/v1/pods?watch=1", True),
            ("/api/v1/namespaces/a/pods/x/log?follow=true", True),
            ("/api/v1/namespaces/a/pods/x/log?follow=false", False),
            ("/api/v1/namespaces/a/pods/x/log", False),
            ("/api/v1/pods", False),
        ):
            self.assertIs(plan(path).follows, follows, path)

    def test_labels_that_are_none(self) -> None:
        with self.assertRaises(ConfigError):
            Cluster.of(target(**{"configmaps#data..x": ["a"]}))


class ShowTests(SynchronousTestCase):
    """What is shown of an answer."""

    def shown(
        self,
        path: str,
        answer: Any,
        sights: Sights | None = None,
        of: KubernetesModel | None = None,
        lines: bool = False,
    ) -> Any:
        """Return an answer as a client gets it."""
        reading = of or model()
        found = plan(path, of=reading)
        head = ResponseHead(200, Headers.of([(b"Content-Type", b"application/json")]))
        transform = reading.show(found, head, sights or {}, CALLER).transform
        data = json.dumps(answer).encode() + (b"\n" if lines else b"")
        if transform is None:
            return json.loads(data)
        transform.receive_data(data)
        transform.receive_end()
        pieces = []
        while (piece := transform.next_piece()) is not None:
            pieces.append(piece)
        return json.loads(b"".join(pieces))

    def test_every_place_of_an_object(self) -> None:
        table = {"kind": "Table", "rows": [{"cells": ["db"], "object": SECRET}]}
        for path, answer, lines in (
            ("/api/v1/namespaces/a/secrets/db", SECRET, False),
            ("/api/v1/secrets", {"kind": "SecretList", "items": [SECRET, SECRET]}, False),
            ("/api/v1/secrets?watch=1", {"type": "ADDED", "object": SECRET}, True),
            ("/api/v1/secrets", table, False),
            ("/api/v1/secrets?watch=1", {"type": "ADDED", "object": table}, True),
        ):
            with self.subTest(path=path):
                text = json.dumps(self.shown(path, answer, lines=lines))
                self.assertNotIn(VALUE, text)
                self.assertNotIn(SECRET["data"]["password"], text)
                self.assertIn("db", text)

    def test_a_mask_of_base64_is_base64(self) -> None:
        path = "/api/v1/namespaces/a/secrets/db"
        self.assertEqual(self.shown(path, SECRET)["data"], {"password": MASKED})
        (field,) = (f for f in plan(path).fields if f.id.endswith("#data"))
        self.assertEqual(field.labels, frozenset({"kubernetes.secret"}))
        sights = {each.id: Sight(mask="last4") for each in plan(path).fields}
        shown = self.shown(path, SECRET, sights)["data"]["password"]
        self.assertEqual(base64.b64decode(shown), b"****tery")

    def test_who_may_see_it(self) -> None:
        path = "/api/v1/namespaces/a/secrets/db"
        sights = {each.id: Sight(mask=None) for each in plan(path).fields}
        self.assertEqual(self.shown(path, SECRET, sights), SECRET)

    def test_what_the_operator_labels(self) -> None:
        labelled = model(**{"configmaps#data.password": ["secret"]})
        path = "/api/v1/namespaces/a/configmaps/x"
        answer = {"data": {"password": VALUE, "host": "db1"}}
        self.assertEqual(
            self.shown(path, answer, of=labelled), {"data": {"password": "***", "host": "db1"}}
        )
        (accept,) = plan(path, of=labelled, fields=((b"Accept", b"*/*"),)).send.headers.all(
            b"accept"
        )
        self.assertEqual(accept, b"application/json")

    def test_what_cannot_be_masked_is_not_shown(self) -> None:
        found = plan("/api/v1/secrets")
        for media in (b"application/vnd.kubernetes.protobuf", b"application/yaml", b""):
            head = ResponseHead(200, Headers.of([(b"Content-Type", media)]))
            with self.assertRaises(RefusedError):
                model().show(found, head, {}, CALLER)
        head = ResponseHead(200, Headers.of([(b"Content-Type", b"text/plain")]))
        transform = model().show(found, head, {}, CALLER).transform
        assert transform is not None
        transform.receive_data(VALUE.encode())
        transform.receive_end()
        shown = b"".join(iter(transform.next_piece, None))
        self.assertNotIn(VALUE.encode(), shown)

    def test_the_servers_own_401(self) -> None:
        head = ResponseHead(401, Headers())
        with self.assertRaises(RefusedError):
            model().show(plan("/api/v1/pods"), head, {}, CALLER)


class RefuseTests(SynchronousTestCase):
    """Refusals as kubectl reads them."""

    def test_statuses(self) -> None:
        statuses: tuple[tuple[RefusalKind, int, str], ...] = (
            ("denied", 403, "Forbidden"),
            ("unauthenticated", 401, "Unauthorized"),
            ("held", 429, "TooManyRequests"),
            ("unavailable", 503, "ServiceUnavailable"),
        )
        for kind, status, reason in statuses:
            answer = model().refuse(None, Refusal(kind=kind, text="no", hint="do that"))
            body = json.loads(answer.body)
            self.assertEqual(
                (answer.status, body["code"], body["reason"]), (status, status, reason)
            )
            self.assertEqual(body["message"], "hoopgw: no\ndo that")
            self.assertEqual(answer.headers.get(b"retry-after") is not None, kind == "held")
