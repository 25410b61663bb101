"""From requests to operations: accesses, context, digest, text, and what is forwarded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ConfigError
from hoopgw.http.messages import Headers
from hoopgw.policy.schema import Schema
from hoopgw_azure.asked import Asked
from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.operations import SECRET_LABEL, Service, check_target, forwarded
from hoopgw_azure.strict_json import SIZE_LIMIT
from tests.azure.world import (
    ARM,
    BLOBS,
    COMPUTE,
    GROUP,
    HOST,
    SUBSCRIPTION,
    VAULT,
    asked,
    call,
    context,
    done,
    operation,
    target,
    template,
    verbs,
)

RULES: Final = [{"name": "readOrder", "method": "GET", "path": "/orders/{order}"}]
REST: Final = Service.of(target("rest", operations=RULES))
OTHER: Final = Service(evolve(target("arm"), name="other"), "arm", ARM.place)
DEPLOYMENT: Final = f"{GROUP}/providers/Microsoft.Resources/deployments/d"


class OperationTests(SynchronousTestCase):
    """What policy, reviewers and the recorder are given."""

    def test_accesses_and_context(self) -> None:
        found = operation("POST", f"{COMPUTE}/virtualMachines/vm1/start?api-version=2024-07-01")
        self.assertEqual([each.action for each in found.accesses], ["Azure::action"])
        self.assertEqual(found.action, "Microsoft.Compute/virtualMachines/start/action")
        self.assertEqual(
            found.context,
            {
                "account": "deployer",
                "method": "POST",
                "apiVersion": "2024-07-01",
                "operation": "microsoft.compute/virtualmachines/start/action",
                "operations": ("microsoft.compute/virtualmachines/start/action",),
                "mints": False,
                "executes": False,
                "grants": False,
                "outputs": False,
                **dict.fromkeys(
                    ("opaque", "functions", "roles", "principals", "principalTypes"), ()
                ),
            },
        )

    def test_several_operations_have_no_one_name(self) -> None:
        """So a permit by name never lets in what comes with it."""
        lock = {"type": "Microsoft.Authorization/locks", "name": "l"}
        found = operation("PUT", DEPLOYMENT, {"properties": {"template": template(lock)}})
        self.assertEqual(found.context["operation"], "several")
        self.assertEqual(
            found.context["operations"],
            ("microsoft.authorization/locks/write", "microsoft.resources/deployments/write"),
        )

    def test_the_text_says_what_is_inside(self) -> None:
        """The request line, then what it does, then what cannot be seen, then the body."""
        inner = {"type": "Microsoft.Authorization/locks", "name": "[guid('x')]"}
        found = operation("PUT", DEPLOYMENT, {"properties": {"template": template(inner)}})
        lines = found.text.splitlines()
        self.assertEqual(lines[0], f"PUT {DEPLOYMENT}")
        self.assertEqual(lines[1], "Microsoft.Resources/deployments/write")
        self.assertIn("grant: microsoft.authorization/locks/write on", lines[2])
        self.assertEqual(lines[3], "cannot be seen: name")
        self.assertIn("guid", lines[4])
        self.assertNotIn("guid", repr(found))

    def test_all_that_is_given_fits_the_schema(self) -> None:
        """Every entity and the context of requests to each service, put to Cedar."""
        import json
        from importlib import resources

        text = resources.files("hoopgw_azure").joinpath("schema.cedarschema").read_text("utf-8")
        schema = Schema.load({"azure": text})
        for service, url in (
            (ARM, f"{COMPUTE}/virtualMachines/vm/listKeys"),
            (VAULT, "/secrets/a"),
            (BLOBS, "/c/a"),
            (REST, "/orders/1"),
        ):
            one = asked("GET", url)
            found = service.operation(one, service.call(one), "a")
            waiting = [each.resource for each in found.accesses]
            waiting += (
                service.fields(service.call(asked("GET", "/secrets/a"))) if service is VAULT else ()
            )
            while waiting:
                each = waiting.pop()
                waiting += each.parents
                if not each.type.startswith("Hoopgw"):
                    up = [{"type": up.type, "id": up.id} for up in each.parents]
                    made = schema.entity(each.type, each.id, up, each.labels)
                    schema.nothing.with_added_json_str(json.dumps([made]), schema.handle)

    def test_connecting(self) -> None:
        """What a target is to those who may use it at all."""
        for service, kind in ((ARM, "Tenant"), (VAULT, "Vault"), (BLOBS, "Account")):
            (access,) = service.connecting("a").accesses
            self.assertEqual(
                (access.action, access.resource.type), ("Azure::connect", f"Azure::{kind}")
            )
        self.assertEqual(REST.connecting("a").accesses[0].action, "Rest::connect")

    def test_fields(self) -> None:
        """Where an answer has secrets, and where the operator says so."""
        (secret,) = VAULT.fields(call("GET", "/secrets/a", service=VAULT))
        self.assertEqual((secret.type, secret.id), ("Azure::Field", "shop-kv/a#value"))
        self.assertEqual(secret.labels, {SECRET_LABEL})
        labels = {"Microsoft.Web/sites#properties.hostNames": ("internal",)}
        labelled = Service.of(target("arm", labels))
        site = f"{GROUP}/providers/Microsoft.Web/sites/s"
        found = {
            each.id.partition("#")[2]: each.labels
            for each in labelled.fields(call("GET", site, service=labelled))
        }
        self.assertEqual(found["properties.hostNames"], {"internal"})
        every = ARM.fields(call("POST", f"{site}/config/appsettings/list"))
        self.assertEqual([each.id.partition("#")[2] for each in every], ["*"])
        self.assertEqual(ARM.fields(call("GET", GROUP)), ())

    def test_labels_of_what_is_above(self) -> None:
        labelled = Service.of(target("arm", {GROUP: ("critical",)}))
        found = labelled.call(asked("DELETE", f"{COMPUTE}/virtualMachines/vm"))
        self.assertEqual(found.touches[0].resource.labels, {"critical"})
        other = labelled.call(asked("DELETE", f"{GROUP}2/providers/Microsoft.Compute/disks/d"))
        self.assertEqual(other.touches[0].resource.labels, frozenset())


class DigestTests(SynchronousTestCase):
    """An approval is bound to all that is sent."""

    def digest(self, one: Asked, service: Service = ARM, **more: bytes) -> bytes:
        """Return a request's digest."""
        return service.operation(one, service.call(one), "a", tuple(more.items())).digest

    def test_everything_counts(self) -> None:
        plain = asked(
            "PUT", f"{GROUP}?api-version=2021-04-01", {"location": "w"}, {"If-Match": "a"}
        )
        others = [
            evolve(plain, method="PATCH"),
            asked("PUT", f"{GROUP}2?api-version=2021-04-01", {"location": "w"}, {"If-Match": "a"}),
            asked("PUT", GROUP, {"location": "w"}, {"If-Match": "a"}),
            asked("PUT", f"{GROUP}?api-version=2021-04-01&a", {"location": "w"}, {"If-Match": "a"}),
            evolve(plain, body=b'{"location": "e"}'),
            evolve(plain, headers=Headers.of([(b"if-match", b"b")])),
            evolve(plain, headers=Headers.of([])),
        ]
        digests = {self.digest(each) for each in (plain, *others)}
        digests |= {self.digest(plain, chain=b"alice"), self.digest(plain, OTHER)}
        self.assertEqual(len(digests), len(others) + 3)

    def test_what_is_not_sent_does_not_count(self) -> None:
        """A client's own ids change with each try."""
        plain = asked("DELETE", GROUP)
        again = asked("DELETE", GROUP, None, {"x-ms-client-request-id": "1", "User-Agent": "az"})
        self.assertEqual(self.digest(plain), self.digest(again))

    def test_what_is_sent_instead_counts(self) -> None:
        """Of a template with comments, the plain form."""
        relaxed = b'{"properties": {template: {"resources": [] /* x */}}}'
        other = relaxed.replace(b"x", b"y")
        first, second = (asked("PUT", DEPLOYMENT, body) for body in (relaxed, other))
        self.assertEqual(self.digest(first), self.digest(second))

    def test_encodings_of_a_query_are_not_alike(self) -> None:
        """It is sent as it came, so an approval is for that."""
        digests = {
            self.digest(asked("GET", f"{GROUP}?$filter={text}"))
            for text in ("a+b", "a%20b", "a%2Bb")
        }
        self.assertEqual(len(digests), 3)
        # Of the path there is one encoding, and that is what is sent.
        self.assertEqual(
            self.digest(asked("GET", f"{GROUP}%28x%29")), self.digest(asked("GET", f"{GROUP}(x)"))
        )


class HeadersTests(SynchronousTestCase):
    """What goes on to Azure, and what is not taken."""

    def test_only_what_is_listed_goes_on(self) -> None:
        """No credential, no other method, no id of the client's, nothing of one connection."""
        sent = Headers.of(
            (name, b"v")
            for name in (
                *(b"Accept", b"Content-Type", b"x-ms-meta-a", b"x-ms-blob-type", b"If-None-Match"),
                *(b"Authorization", b"x-ms-authorization-auxiliary", b"Cookie", b"Host"),
                *(b"x-ms-client-request-id", b"User-Agent", b"Via", b"X-Forwarded-For"),
                *(b"Transfer-Encoding", b"Upgrade", b"x-ms-date", b"Expect", b"X-Hoopgw-Wait"),
                *(b"x-ms-copy-source-authorization", b"x-ms-encryption-key"),
            )
        )
        self.assertEqual(
            [name for name, _ in forwarded(sent)],
            [b"Accept", b"Content-Type", b"x-ms-meta-a", b"x-ms-blob-type", b"If-None-Match"],
        )

    def test_what_connection_names_does_not_go_on(self) -> None:
        """Whatever its case, and in which of several fields (RFC 9110, section 7.6.1)."""
        sent = Headers.of(
            [
                *((b"Connection", b"close, If-Match"), (b"connection", b"X-MS-Meta-A")),
                *((b"if-match", b"v"), (b"x-ms-meta-a", b"v"), (b"Accept", b"v")),
            ]
        )
        self.assertEqual(forwarded(sent).pairs, ((b"Accept", b"v"),))

    def test_other_methods_in_headers_are_refused(self) -> None:
        """They would make another request of this one."""
        for name in (
            "X-HTTP-Method-Override",
            "x-http-method",
            "X-Method-Override",
            "X-Original-URL",
        ):
            for service in (ARM, VAULT, BLOBS, REST):
                with self.assertRaises(UnclearRequestError):
                    service.call(asked("GET", "/", None, {name: "DELETE"}))


class BatchTests(SynchronousTestCase):
    """Requests inside of one."""

    def batch(self, *requests: Mapping[str, object]) -> tuple[str, object]:
        """Return a batch."""
        return "/batch?api-version=2020-06-01", {"requests": list(requests)}

    def test_each_is_judged(self) -> None:
        url, body = self.batch(
            {"httpMethod": "GET", "name": "1", "url": f"{COMPUTE}/virtualMachines"},
            {"httpMethod": "DELETE", "url": f"https://{HOST}{GROUP}?api-version=2021-04-01"},
            {
                "httpMethod": "POST",
                "url": f"{GROUP}/providers/Microsoft.Storage/storageAccounts/a/listKeys",
                "content": {},
            },
        )
        found = call("POST", url, body)
        self.assertEqual(
            done(found),
            [
                ("read", "microsoft.compute/virtualmachines/read"),
                ("delete", "microsoft.resources/subscriptions/resourcegroups/delete"),
                ("mint", "microsoft.storage/storageaccounts/listkeys/action"),
            ],
        )
        self.assertTrue(found.mints)
        self.assertTrue(found.secrets.everything)

    def test_bodies_are_looked_into(self) -> None:
        inner = {"type": "Microsoft.Authorization/roleAssignments", "name": "n", "properties": {}}
        url, body = self.batch(
            {
                "httpMethod": "PUT",
                "url": DEPLOYMENT,
                "content": {"properties": {"template": template(inner)}},
            },
            {"httpMethod": "GET", "url": GROUP},
        )
        found = call("POST", url, body)
        self.assertIn("grant", verbs(found))
        self.assertEqual(context(found)["roles"], ("unknown",))

    def test_what_is_not_clear_is_refused(self) -> None:
        """Other hosts, batches in batches, headers, two bodies, too many, paths with tricks."""
        plain = {"httpMethod": "GET", "url": GROUP}
        for requests in (
            [],
            [{**plain, "url": f"https://evil.example{GROUP}"}],
            [{**plain, "url": f"http://{HOST}{GROUP}"}],
            [{**plain, "url": f"https://{HOST}@evil.example{GROUP}"}],
            [{**plain, "url": f"//{HOST}{GROUP}"}],
            [{**plain, "url": GROUP.strip("/")}],
            [{**plain, "url": f"{GROUP}/%2e%2e/x"}],
            [{**plain, "url": f"{GROUP}%2Fproviders"}],
            [{**plain, "url": f"{GROUP}//x"}],
            [{**plain, "url": f"{GROUP}\n/x"}],
            [{**plain, "url": f"{GROUP}#x"}],
            [{**plain, "url": f"{GROUP}/"}],
            [{**plain, "url": "/batch", "httpMethod": "POST", "content": {"requests": [plain]}}],
            [{**plain, "headers": {"X-HTTP-Method-Override": "DELETE"}}],
            [{**plain, "requestHeaders": ["a"]}],
            [{**plain, "content": {}, "body": {}}],
            [{"httpMethod": "GET"}],
            [{**plain, "httpMethod": "TRACE"}],
            [17],
            [plain] * 21,
            "all",
        ):
            with self.assertRaises(UnclearRequestError, msg=str(requests)):
                call("POST", "/batch", {"requests": requests})
        with self.assertRaises(UnclearRequestError):
            call("GET", "/BATCH")

    def test_doubles_in_a_batch(self) -> None:
        """A member that is there twice."""
        body = b'{"requests": [{"httpMethod": "GET", "url": "/a", "URL": "/b"}]}'
        with self.assertRaises(UnclearRequestError):
            call("POST", "/batch", body)


class SettingsTests(SynchronousTestCase):
    """Targets of the configuration."""

    def test_wrong_options(self) -> None:
        for wrong, said in (
            (target("arms"), "service"),
            (target("arm", name="x"), "name"),
            (target("arm", hosts="x"), "hosts"),
            (target("storage", name_in_path=1), "name_in_path"),
            (target("rest"), "operations"),
            (target("arm", {"#a": ("l",)}), "TYPE#PATH"),
        ):
            with self.assertRaises(ConfigError) as caught:
                check_target(wrong)
            self.assertIn(said, str(caught.exception))
        check_target(target("keyvault"))

    def test_how_much_is_collected(self) -> None:
        """Bodies that are judged; not blobs, which may be of any size."""
        self.assertEqual(ARM.collects("PUT"), SIZE_LIMIT)
        self.assertEqual(ARM.collects("GET"), 0)
        self.assertEqual(BLOBS.collects("PUT"), 0)

    def test_resource_groups_in_text(self) -> None:
        self.assertIn(SUBSCRIPTION, operation("DELETE", GROUP).accesses[0].resource.id)
