"""What a path and method are, as an API server reads them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.http.path import LocatorError, locate
from hoopgw_kubernetes.errors import UnclearRequestError
from hoopgw_kubernetes.operations import action_of
from hoopgw_kubernetes.requests import ApiRequest, read

OF_DEFAULT = "/api/v1/namespaces/default"
APPS = "/apis/apps/v1/namespaces/prod/deployments"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def request(method: str, target: str) -> ApiRequest:
    """Read one."""
    return read(method, locate(target))


class ReadTests(SynchronousTestCase):
    """What it is."""

    def test_verbs(self) -> None:
        for method, target, verb, action in (
            ("GET", f"{OF_DEFAULT}/pods", "list", "list"),
            ("GET", f"{OF_DEFAULT}/pods/a", "get", "get"),
            ("HEAD", f"{OF_DEFAULT}/pods/a", "get", "get"),
            ("GET", f"{OF_DEFAULT}/pods?watch=1", "watch", "watch"),
            ("GET", f"{OF_DEFAULT}/pods?watch", "watch", "watch"),
            ("GET", f"{OF_DEFAULT}/pods?watch=false", "list", "list"),
            ("GET", f"{OF_DEFAULT}/pods/a?watch=true", "watch", "watch"),
            ("GET", "/api/v1/watch/pods", "watch", "watch"),
            ("POST", f"{OF_DEFAULT}/pods", "create", "create"),
            ("PUT", f"{OF_DEFAULT}/pods/a", "update", "update"),
            ("PATCH", f"{OF_DEFAULT}/pods/a", "patch", "patch"),
            ("DELETE", f"{OF_DEFAULT}/pods/a", "delete", "delete"),
            ("DELETE", f"{OF_DEFAULT}/pods", "deletecollection", "deletecollection"),
            ("GET", f"{OF_DEFAULT}/pods/a/log", "get", "logs"),
            ("GET", f"{OF_DEFAULT}/pods/a/exec?command=ls", "get", "exec"),
            ("POST", f"{OF_DEFAULT}/pods/a/exec?command=ls", "create", "exec"),
            ("GET", f"{OF_DEFAULT}/pods/a/attach", "get", "attach"),
            ("POST", f"{OF_DEFAULT}/pods/a/portforward", "create", "portforward"),
            ("PATCH", f"{OF_DEFAULT}/pods/a/ephemeralcontainers", "patch", "debug"),
            ("POST", f"{OF_DEFAULT}/pods/a/eviction", "create", "evict"),
            ("GET", f"{APPS}/web/scale", "get", "get"),
            ("PATCH", f"{APPS}/web/scale", "patch", "scale"),
            ("PATCH", f"{APPS}/web/status", "patch", "patch"),
            ("PATCH", f"{APPS}/web/strange", "patch", "unknown"),
            ("GET", f"{OF_DEFAULT}/services/a/proxy/b/c/d", "get", "proxy"),
            ("GET", "/api/v1/nodes/n/proxy/run/x", "get", "proxy"),
            ("POST", f"{OF_DEFAULT}/serviceaccounts/a/token", "create", "mint"),
            (
                "PUT",
                "/apis/certificates.k8s.io/v1/certificatesigningrequests/a/approval",
                "update",
                "mint",
            ),
            ("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests", "create", "mint"),
            ("POST", f"{RBAC}/clusterrolebindings", "create", "grant"),
            ("DELETE", f"{RBAC}/clusterroles", "deletecollection", "grant"),
            ("GET", f"{RBAC}/clusterroles", "list", "list"),
            (
                "POST",
                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                "create",
                "review",
            ),
            ("GET", "/api", "get", "discover"),
            ("GET", "/apis/apps/v1", "get", "discover"),
            ("GET", "/", "get", "discover"),
            ("GET", "/version", "get", "discover"),
            ("GET", "/metrics", "get", "unknown"),
            ("GET", "/logs/kube-apiserver.log", "get", "unknown"),
            ("POST", "/healthz", "post", "unknown"),
        ):
            with self.subTest(method=method, target=target):
                found = request(method, target)
                self.assertEqual((found.verb, action_of(found)), (verb, action))

    def test_what_it_is_about(self) -> None:
        found = request("GET", f"{APPS}/web/scale")
        self.assertEqual(
            (found.group, found.version, found.kind, found.subresource),
            ("apps", "v1", "deployments.apps", "scale"),
        )
        self.assertEqual((found.namespace, found.name), ("prod", "web"))
        self.assertEqual(found.full, "deployments.apps/scale")

    def test_namespaces_themselves(self) -> None:
        for target, name, subresource in (
            (OF_DEFAULT, "default", ""),
            (f"{OF_DEFAULT}/status", "default", "status"),
            (f"{OF_DEFAULT}/finalize", "default", "finalize"),
        ):
            found = request("GET", target)
            self.assertEqual(
                (found.resource, found.name, found.subresource), ("namespaces", name, subresource)
            )
            self.assertEqual(found.namespace, "default")
        self.assertEqual(request("GET", "/api/v1/namespaces").verb, "list")

    def test_a_selector_that_leaves_one_name(self) -> None:
        for query, name in (
            ("fieldSelector=metadata.name=db", "db"),
            ("fieldSelector=metadata.name%3Ddb", "db"),
            ("fieldSelector=metadata.name==db", "db"),
            ("fieldSelector=metadata.name!=db", ""),
            ("fieldSelector=metadata.name=db,type=x", ""),
            ("fieldSelector=metadata.name=db&fieldSelector=metadata.name=x", ""),
            ("", ""),
        ):
            self.assertEqual(request("GET", f"{OF_DEFAULT}/secrets?{query}").name, name, query)

    def test_what_keeps_nothing(self) -> None:
        self.assertTrue(request("POST", f"{OF_DEFAULT}/pods?dryRun=All").dry_run)
        self.assertFalse(request("POST", f"{OF_DEFAULT}/pods").dry_run)
        for query in ("dryRun=None", "dryRun=all", "dryRun=All&dryRun=", "dryRun="):
            with self.assertRaises(UnclearRequestError):
                request("POST", f"{OF_DEFAULT}/pods?{query}")

    def test_what_is_not_clear(self) -> None:
        for method, target in (
            ("GET", f"{OF_DEFAULT}/pods/"),
            ("GET", f"{OF_DEFAULT}/pods/a/log/more"),
            ("GET", f"{OF_DEFAULT}/pods?watch=1&watch=0"),
            ("GET", f"{OF_DEFAULT}/pods?watch=maybe"),
            ("GET", "/api/v1/proxy/nodes/a"),
            ("DELETE", "/api/v1/watch/pods"),
            ("GET", "/api/v1/watch"),
            ("GET", "/api/latest/pods"),
            ("GET", "/apis/APPS/v1/deployments"),
            ("OPTIONS", f"{OF_DEFAULT}/pods"),
            ("GET", f"{OF_DEFAULT}/pods/a b"),
        ):
            with (
                self.subTest(target=target),
                self.assertRaises((UnclearRequestError, LocatorError)),
            ):
                request(method, target)

    @given(
        st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]),
        st.lists(
            st.sampled_from(
                (
                    *("api", "apis", "v1", "apps", "namespaces", "default", "pods", "secrets"),
                    *("db", "watch", "proxy", "exec", "status", "rbac.authorization.k8s.io"),
                )
            ),
            max_size=9,
        ),
    )
    def test_whatever_the_path(self, method: str, segments: list[str]) -> None:
        """It is one thing, or none; where secrets are a resource, it says so."""
        try:
            found = request(method, "/" + "/".join(segments))
        except UnclearRequestError:
            return
        self.assertTrue(action_of(found))
        if found.is_resource:
            self.assertIn(found.resource, segments)
        if "secrets" in segments[3:4] and segments[:2] == ["api", "v1"]:
            self.assertIn("secrets", (found.resource, found.name))
