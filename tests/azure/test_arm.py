"""From requests to Resource Manager to operations, scopes and resources."""

from __future__ import annotations

from typing import Final

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw_azure import arm, known
from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.ids import Scope, parse
from tests.azure.world import (
    ARM,
    COMPUTE,
    GROUP,
    SUBSCRIPTION,
    above,
    call,
    context,
    done,
    ids,
    verbs,
)

ASSIGNMENTS: Final = "providers/Microsoft.Authorization/roleAssignments"
ASSIGNMENT: Final = f"{ASSIGNMENTS}/88888888-0000-0000-0000-000000000001"
OWNER: Final = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
ALICE: Final = "11111111-2222-3333-4444-555555555555"


class OperationTests(SynchronousTestCase):
    """Method and path to the operation and its kind."""

    def test_verbs(self) -> None:
        """What each kind of request is."""
        machine = f"{COMPUTE}/virtualMachines/vm1"
        for method, url, verb, name in (
            ("GET", machine, "read", "virtualmachines/read"),
            ("HEAD", machine, "read", "virtualmachines/read"),
            ("PUT", machine, "write", "virtualmachines/write"),
            ("PATCH", machine, "write", "virtualmachines/write"),
            ("DELETE", machine, "delete", "virtualmachines/delete"),
            ("POST", f"{machine}/start", "action", "virtualmachines/start/action"),
            ("POST", f"{machine}/runCommand", "execute", "virtualmachines/runcommand/action"),
            ("PUT", f"{machine}/extensions/e", "execute", "virtualmachines/extensions/write"),
            ("PUT", f"{machine}/runCommands/r", "execute", "virtualmachines/runcommands/write"),
            ("POST", f"{COMPUTE}/disks/d/beginGetAccess", "mint", "disks/begingetaccess/action"),
        ):
            self.assertEqual(done(call(method, url)), [(verb, f"microsoft.compute/{name}")])

    def test_without_a_provider(self) -> None:
        """Groups, subscriptions, and what is below them."""
        scope = "microsoft.resources/subscriptions"
        for method, url, verb, name in (
            ("GET", "/subscriptions", "read", f"{scope}/read"),
            ("GET", f"/subscriptions/{SUBSCRIPTION}", "read", f"{scope}/read"),
            ("GET", "/tenants", "read", "microsoft.resources/tenants/read"),
            ("DELETE", GROUP, "delete", f"{scope}/resourcegroups/delete"),
            ("GET", f"{GROUP}/resources", "read", "microsoft.resources/resources/read"),
            ("GET", "/providers", "read", "microsoft.resources/providers/read"),
            ("GET", "/providers/Microsoft.Compute", "read", "microsoft.resources/providers/read"),
            (
                *("POST", f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Sql/register"),
                *("action", "microsoft.sql/register/action"),
            ),
            (
                *("PUT", f"/subscriptions/{SUBSCRIPTION}/tagNames/t", "write"),
                "microsoft.resources/tags/write",
            ),
        ):
            self.assertEqual(done(call(method, url)), [(verb, name)], url)

    def test_what_no_table_knows_is_unknown(self) -> None:
        """Whatever the method, and not read because of a GET."""
        for method in arm.METHODS:
            for url in (
                f"{COMPUTE}/virtualMachines/vm1/nothings/n",
                f"{GROUP}/providers/Nobody.Knows/things/t",
                f"{GROUP}/things",
                "/",
                "/health",
            ):
                found = call(method, url)
                self.assertEqual(verbs(found), {"unknown"}, (method, url))

    def test_other_methods(self) -> None:
        """They are refused."""
        for method in ("OPTIONS", "TRACE", "get", "PROPFIND", "CONNECT"):
            with self.assertRaises(UnclearRequestError):
                call(method, GROUP)

    def test_reads_by_post(self) -> None:
        """They read, where RBAC or we say so; a query language reads everything."""
        graph = call("POST", "/providers/Microsoft.ResourceGraph/resources", {"query": "resources"})
        self.assertEqual(graph.touches[0].verb, "read")
        self.assertEqual(
            graph.touches[0].resource.id, "/providers/microsoft.resourcegraph/resources"
        )
        watcher = f"{GROUP}/providers/Microsoft.Network/networkWatchers/w"
        self.assertEqual(call("POST", f"{watcher}/topology").touches[0].verb, "read")
        # Keys by another name are no reading.
        account = f"{GROUP}/providers/Microsoft.DocumentDB/databaseAccounts/a"
        self.assertEqual(call("POST", f"{account}/readonlykeys").touches[0].verb, "mint")

    def test_a_read_is_never_made_of_a_write(self) -> None:
        """Whatever the exceptions say, PUT, PATCH and DELETE do not read."""
        for template in known.operations().exceptions.values():
            for each in template:
                if each.method in ("PUT", "PATCH", "DELETE"):
                    path = tuple(word.replace("{}", "x") for word in each.segments)
                    path = ("subscriptions", "s", *path[1:]) if each.segments[0] == "{}" else path
                    self.assertNotIn(arm.read(each.method, path, ()).verb, ("read", "poll"))

    def test_api_version(self) -> None:
        """It is there once, in either case; no other text is one."""
        self.assertEqual(call("GET", f"{GROUP}?API-Version=2021-04-01").api_version, "2021-04-01")
        self.assertEqual(
            call("GET", f"{GROUP}?api-version=2018-01-01-preview").api_version, "2018-01-01-preview"
        )
        for query in (
            "api-version=2021-04-01&api-version=2020-01-01",
            "api-version=x&a=b",
            "api-version=",
        ):
            with self.assertRaises(UnclearRequestError):
                call("GET", f"{GROUP}?{query}")


class KindTests(SynchronousTestCase):
    """What is dangerous besides."""

    def test_secrets_by_name_and_by_field(self) -> None:
        """By the operation's name all of it, else the fields that the specification marks."""
        account = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/a"
        self.assertTrue(call("POST", f"{account}/listKeys").secrets.everything)
        cluster = f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/c"
        self.assertTrue(call("POST", f"{cluster}/listClusterAdminCredential").secrets.everything)
        site = f"{GROUP}/providers/Microsoft.Web/sites/s"
        self.assertTrue(call("POST", f"{site}/publishxml").mints)
        self.assertTrue(call("POST", f"{site}/config/appsettings/list").mints)
        self.assertEqual(
            call("GET", f"{COMPUTE}/virtualMachines/v").secrets.paths,
            ("properties.osProfile.adminPassword",),
        )
        deployment = f"{GROUP}/providers/Microsoft.Resources/deployments/d"
        self.assertEqual(call("GET", deployment).secrets.paths, ("properties.outputs.*.value",))
        self.assertFalse(call("GET", GROUP).secrets)

    def test_grants(self) -> None:
        """Who may do what is changed in more than one place."""
        for method, url in (
            ("PUT", f"{GROUP}/{ASSIGNMENT}"),
            ("DELETE", f"{GROUP}/{ASSIGNMENT}"),
            (
                "PUT",
                f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/r",
            ),
            ("POST", "/providers/Microsoft.Authorization/elevateAccess"),
            ("PUT", f"{GROUP}/providers/Microsoft.Authorization/policyAssignments/p"),
            ("DELETE", f"{GROUP}/providers/Microsoft.Authorization/locks/l"),
            ("PUT", f"{GROUP}/providers/Microsoft.KeyVault/vaults/v/accessPolicies/add"),
        ):
            body: object = {"properties": {}} if "roleAssign" in url else None
            found = call(method, url, body)
            self.assertTrue(found.grants, url)
            self.assertIn("grant", verbs(found), url)

    def test_reading_gives_nothing_away(self) -> None:
        """To look at a job or an assignment neither runs nor grants anything."""
        job = f"{GROUP}/providers/Microsoft.Automation/automationAccounts/a/jobs/j"
        self.assertEqual(verbs(call("GET", job)), {"read"})
        self.assertEqual(verbs(call("GET", f"{GROUP}/{ASSIGNMENT}")), {"read"})

    def test_bodies_that_do_not_say_what_they_are(self) -> None:
        """What looks like JSON is read as JSON; what does not is said not to have been seen."""
        machine = f"{COMPUTE}/virtualMachines/vm"
        given: dict[str, object] = {
            "identity": {"userAssignedIdentities": {"/subscriptions/s/x": {}}}
        }
        found = call("PUT", machine, given, ARM, content_type="text/plain")
        self.assertIn("grant", verbs(found))
        script = call("PUT", machine, b"Write-Host", ARM, content_type="text/powershell")
        self.assertEqual(context(script)["opaque"], ("body",))
        self.assertEqual(verbs(script), {"write"})
        with self.assertRaises(UnclearRequestError):
            call("PUT", machine, b'{"a": 1, "A": 2}', ARM, content_type="text/plain")

    def test_a_post_is_looked_into_as_well(self) -> None:
        """Where it is no action, it is a write like any other."""
        body = {"properties": {"template": {"resources": [{"type": "x", "name": "y"}]}}}
        url = f"{GROUP}/providers/Microsoft.Resources/deployments/d"
        self.assertIn("unknown", verbs(call("POST", url, body)))

    def test_federated_credentials_are_minted(self) -> None:
        identity = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
        self.assertTrue(call("PUT", f"{identity}/federatedIdentityCredentials/f", {}).mints)

    def test_polls(self) -> None:
        """They are known by their form, hide all, and are no reading where nobody asked before."""
        operations = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/w"
        for url in (
            f"{operations}/DiskOperations/50a7c319-4466-4370-897f-c296cab06273",
            f"{operations}/operations/1?monitor=true",
            f"/subscriptions/{SUBSCRIPTION}/operationresults/abc",
            f"{GROUP}/providers/Microsoft.Resources/deployments/d/operationStatuses/1",
            f"{GROUP}/providers/Nobody.Knows/things/t/operationResults/1",
        ):
            found = call("GET", url)
            self.assertTrue(found.poll, url)
            self.assertTrue(found.secrets.everything)
            self.assertEqual(verbs(found), {"poll"})
        for url in (
            "/providers/Microsoft.Storage/operations",
            f"{GROUP}/providers/Microsoft.ApiManagement/service/s/apis/a/operations/o",
            f"{GROUP}/providers/Microsoft.Edge/disconnectedOperations/d",
            f"{GROUP}/providers/Microsoft.Resources/deployments/d/operations/1",
            f"{GROUP}/providers/Microsoft.Resources/deployments/d/operations",
        ):
            self.assertFalse(call("GET", url).poll, url)
        self.assertFalse(call("DELETE", f"{operations}/operations/1").poll)


class RoleTests(SynchronousTestCase):
    """Role assignments say who gets what."""

    def assign(self, **properties: object) -> dict[str, object]:
        """Return what policy sees of an assignment."""
        return context(call("PUT", f"{GROUP}/{ASSIGNMENT}", {"properties": properties}))

    def test_a_built_in_role(self) -> None:
        """By id and by name, wherever the definition is."""
        for scope in ("", f"/subscriptions/{SUBSCRIPTION}"):
            definition = (
                f"{scope}/providers/Microsoft.Authorization/roleDefinitions/{OWNER.upper()}"
            )
            found = self.assign(
                roleDefinitionId=definition, principalId=ALICE, principalType="ServicePrincipal"
            )
            self.assertEqual(found["roles"], (OWNER, "Owner"))
            self.assertEqual(found["principals"], (ALICE,))
            self.assertEqual(found["principalTypes"], ("serviceprincipal",))

    def test_what_is_not_said_is_unknown(self) -> None:
        """And what is said in a way that nobody knows."""
        found = self.assign(roleDefinitionId="x/y/z", principalId=17)
        for name in ("roles", "principals", "principalTypes"):
            self.assertEqual(found[name], ("unknown",))
        own = self.assign(
            roleDefinitionId=f"/providers/x/roleDefinitions/{ALICE}", principalId=ALICE
        )
        self.assertEqual(own["roles"], (ALICE,))

    def test_requests_for_roles_count_as_well(self) -> None:
        """Privileged Identity Management assigns by requests."""
        url = f"{GROUP}/providers/Microsoft.Authorization/roleAssignmentScheduleRequests/r"
        found = call("PUT", url, {"properties": {"principalId": ALICE, "roleDefinitionId": OWNER}})
        self.assertTrue(found.grants)
        self.assertEqual(context(found)["roles"], (OWNER, "Owner"))

    def test_a_body_is_needed(self) -> None:
        """And it is JSON, and says so."""
        url = f"{GROUP}/{ASSIGNMENT}"
        for body, name, value in (
            (None, "accept", "*/*"),
            ({"a": 1}, "content_type", "text/xml"),
            ({"a": 1}, "content_encoding", "gzip"),
        ):
            with self.assertRaises(UnclearRequestError):
                call("PUT", url, body, ARM, **{name: value})


class ScopeTests(SynchronousTestCase):
    """Where a resource is."""

    def test_a_resource_is_in_all_that_is_above_it(self) -> None:
        """Type, provider, parents, group, subscription, target, environment."""
        found = call("PUT", f"{COMPUTE}/virtualMachines/VM1/extensions/E1")
        group = f"/subscriptions/{SUBSCRIPTION}/resourcegroups/shop"
        machine = f"{group}/providers/microsoft.compute/virtualmachines/vm1"
        self.assertEqual(found.touches[0].resource.id, f"{machine}/extensions/e1")
        self.assertEqual(
            above(found.touches[0]),
            {
                ("Azure::Scope", f"{machine}/extensions/e1"),
                ("Azure::Scope", machine),
                ("Azure::ResourceGroup", f"{SUBSCRIPTION}/shop"),
                ("Azure::Subscription", SUBSCRIPTION),
                ("Azure::Tenant", "arm"),
                ("Azure::Type", "microsoft.compute/virtualmachines/extensions"),
                ("Azure::Type", "microsoft.compute/virtualmachines"),
                ("Azure::Type", "microsoft.compute"),
                ("Hoopgw::Target", "arm"),
                ("Hoopgw::Environment", "prod"),
            },
        )

    def test_what_extends_a_resource_is_not_of_its_type(self) -> None:
        """A permit for virtual machines is none for role assignments on them."""
        found = call("DELETE", f"{COMPUTE}/virtualMachines/vm1/{ASSIGNMENT}")
        types = {name for kind, name in above(found.touches[0]) if kind == "Azure::Type"}
        self.assertEqual(
            types, {"microsoft.authorization", "microsoft.authorization/roleassignments"}
        )
        scopes = {name for kind, name in above(found.touches[0]) if kind == "Azure::Scope"}
        self.assertTrue(any(name.endswith("/virtualmachines/vm1") for name in scopes))

    def test_an_action_is_on_its_resource(self) -> None:
        (touch,) = call("POST", f"{COMPUTE}/virtualMachines/vm1/start").touches
        self.assertTrue(touch.resource.id.endswith("/virtualmachines/vm1"))

    def test_scopes_themselves(self) -> None:
        """Groups, subscriptions and management groups are asked about as such."""
        for url, kind, name in (
            (GROUP, "ResourceGroup", f"{SUBSCRIPTION}/shop"),
            (f"/subscriptions/{SUBSCRIPTION}", "Subscription", SUBSCRIPTION),
            ("/subscriptions", "Tenant", "arm"),
        ):
            (touch,) = call("GET", url).touches
            self.assertEqual((touch.resource.type, touch.resource.id), (f"Azure::{kind}", name))
        url = "/providers/Microsoft.Management/managementGroups/Corp"
        (touch,) = call("PUT", f"{url}/{ASSIGNMENT}", {"properties": {}}).touches
        self.assertIn(("Azure::ManagementGroup", "corp"), above(touch))

    def test_moves_write_where_things_go(self) -> None:
        """A move is a write of the target group, and of each resource that is moved."""
        goes = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/other"
        moved = f"{COMPUTE}/disks/d1"
        found = call(
            "POST", f"{GROUP}/moveResources", {"resources": [moved], "targetResourceGroup": goes}
        )
        self.assertEqual(ids(found, "write"), [f"{SUBSCRIPTION}/other", moved.lower()])
        hidden = call("POST", f"{GROUP}/moveResources", {"targetResourceGroup": goes})
        self.assertEqual(context(hidden)["opaque"], ("scope",))


names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12).filter(
    lambda name: name != "providers"
)


@st.composite
def cased(draw: st.DrawFn, text: str) -> str:
    """Return a text with letters in any case."""
    upper = draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text)))
    return "".join(c.upper() if u else c.lower() for c, u in zip(text, upper, strict=True))


class CaseTests(SynchronousTestCase):
    """Azure does not tell cases apart, and neither do we."""

    @given(st.data(), st.sampled_from(sorted(arm.METHODS)), names, names)
    def test_case_changes_nothing(
        self, data: st.DataObject, method: str, group: str, name: str
    ) -> None:
        """The same touches, whatever the case."""
        scope = f"/subscriptions/s/resourceGroups/{group}"
        url = f"{scope}/providers/Microsoft.Compute/virtualMachines/{name}"
        plain = call(method, url)
        other = call(method, data.draw(cased(url)))
        self.assertEqual(plain.touches, other.touches)
        self.assertEqual(plain.secrets, other.secrets)

    @given(st.data(), st.sampled_from(["GET", "PUT", "DELETE"]), names)
    def test_encodings_are_the_same_or_refused(
        self, data: st.DataObject, method: str, name: str
    ) -> None:
        """Whichever characters of a path are encoded: never another operation."""
        url = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/{name}(1)"
        at = data.draw(st.sets(st.integers(1, len(url) - 1), max_size=3))
        sent = "".join(
            "%" + format(ord(c), data.draw(st.sampled_from(["02x", "02X"]))) if n in at else c
            for n, c in enumerate(url)
        )
        try:
            found = call(method, sent)
        except UnclearRequestError:
            return
        self.assertEqual(found.touches, call(method, url).touches)

    @given(st.lists(st.text(max_size=12), max_size=12), st.sampled_from(sorted(arm.METHODS)))
    def test_any_path_is_read_or_refused(self, segments: list[str], method: str) -> None:
        """No path makes anything but a reading or a refusal."""
        try:
            found = arm.read(method, tuple(segments), ())
        except UnclearRequestError:
            return
        self.assertIn("/", found.operation)

    @given(
        st.lists(
            st.sampled_from(["providers", "subscriptions", "resourceGroups", "s", "a.b", "x"]),
            max_size=9,
        )
    )
    def test_the_scope_is_the_front_of_the_path(self, segments: list[str]) -> None:
        """Whatever is read, its scope is what the path begins with."""
        try:
            found = parse(tuple(segments))
        except UnclearRequestError:
            return
        if found.scope != Scope() and not found.scope.management_group:
            self.assertTrue(f"{found.id}/".startswith(f"{found.scope.path}/"))
        for part in found.parts:
            self.assertNotIn("providers", [name.lower() for name in part.names])
