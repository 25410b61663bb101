"""What is inside of deployments, and of what else carries templates."""

from __future__ import annotations

from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.findings import RESOURCES_LIMIT
from hoopgw_azure.templates import NESTING_LIMIT
from tests.azure.world import (
    GROUP,
    SUBSCRIPTION,
    above,
    call,
    context,
    deploy,
    done,
    ids,
    template,
    verbs,
)

SHOP: Final = GROUP.lower()
STORAGE: Final = "Microsoft.Storage/storageAccounts"
OWNER: Final = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
ALICE: Final = "11111111-2222-3333-4444-555555555555"
ASSIGNMENT: Final = {
    "type": "Microsoft.Authorization/roleAssignments",
    "name": "[guid('x')]",
    "properties": {
        "roleDefinitionId": f"[resourceId('Microsoft.Authorization/roleDefinitions', '{OWNER}')]",
        "principalId": "[parameters('who')]",
        "principalType": "User",
    },
}


def storage(name: str = "data", **more: object) -> dict[str, object]:
    """Return a storage account of a template."""
    return {"type": STORAGE, "apiVersion": "2023-01-01", "name": name, **more}


def nested(inner: object, *, inner_scope: bool = False, **more: object) -> dict[str, object]:
    """Return a nested deployment of a template."""
    properties: dict[str, object] = {"mode": "Incremental", "template": inner}
    if inner_scope:
        properties["expressionEvaluationOptions"] = {"scope": "inner"}
    properties.update(more.pop("properties", {}))  # type: ignore[call-overload]  # a dict
    return {
        "type": "Microsoft.Resources/deployments",
        "name": "inner",
        "properties": properties,
        **more,
    }


def account(name: str, group: str = SHOP) -> str:
    """Return the id of a storage account."""
    return f"{group}/providers/microsoft.storage/storageaccounts/{name}"


class ResourcesTests(SynchronousTestCase):
    """Each resource is a touch of its own."""

    def test_each_is_asked_for(self) -> None:
        """The deployment, a resource, its child, and what extends it."""
        child = {
            "type": "blobServices",
            "name": "default",
            "resources": [
                {"type": "containers", "name": "c"},
            ],
        }
        lock = {
            "type": "Microsoft.Authorization/locks",
            "name": "l",
            "scope": f"[resourceId('{STORAGE}', 'data')]",
        }
        found = deploy(template(storage(resources=[child]), lock))
        self.assertEqual(
            ids(found, "write"),
            [
                f"{SHOP}/providers/microsoft.resources/deployments/d",
                account("data"),
                account("data/blobservices/default"),
                account("data/blobservices/default/containers/c"),
            ],
        )
        self.assertEqual(
            ids(found, "grant"),
            [account("data") + "/providers/microsoft.authorization/locks/l"],
        )
        self.assertEqual(context(found)["opaque"], ())

    def test_symbolic_names(self) -> None:
        """In languageVersion 2.0 resources are an object; what exists is only read."""
        content = template(languageVersion="2.0")
        content["resources"] = {
            "a": storage("one"),
            "b": {**storage("two"), "existing": True},
            "c": {**storage("three"), "existing": "true"},
        }
        found = deploy(content)
        self.assertEqual(ids(found, "read"), [account("two")])
        self.assertEqual(ids(found, "write")[1:], [account("one"), account("three")])

    def test_names_of_parameters_and_variables(self) -> None:
        """What the request itself says is known, also through defaults and functions."""
        content = template(
            storage("[concat(parameters('prefix'), variables('rest'))]"),
            storage("[format('{0}{1}', toLower(parameters('other')), 'x')]"),
            parameters={"prefix": {"type": "string"}, "other": {"defaultValue": "DE"}},
            variables={"rest": "[concat('b', 'c')]"},
        )
        found = deploy(content, parameters={"Prefix": {"value": "a"}})
        self.assertEqual(ids(found, "write")[1:], [account("abc"), account("dex")])
        self.assertEqual(context(found)["opaque"], ())

    def test_names_that_only_azure_knows(self) -> None:
        """They are ``*``, and it is said."""
        for name in ("[uniqueString('x')]", "[parameters('nobody')]", "[concat('a', copyIndex())]"):
            found = deploy(template(storage(name, copy={"name": "l", "count": 3})))
            self.assertEqual(ids(found, "write")[1:], [account("*")], name)
            self.assertEqual(context(found)["opaque"], ("name",))

    def test_a_given_value_is_not_evaluated(self) -> None:
        """What looks like an expression in a parameter is a text; nobody takes it for one."""
        content = template(storage("[parameters('p')]"))
        found = deploy(content, parameters={"p": {"value": "[concat('da','ta')]"}})
        self.assertEqual(ids(found, "write")[1:], [account("*")])

    def test_conditions_count_as_true(self) -> None:
        self.assertIn(account("data"), ids(deploy(template(storage(condition=False))), "write"))

    def test_case_of_members_is_no_hiding_place(self) -> None:
        """Azure does not tell their case apart."""
        found = deploy({"Resources": [{"TYPE": STORAGE.upper(), "Name": "data"}]})
        self.assertEqual(ids(found, "write")[1:], [account("data")])

    def test_role_assignments(self) -> None:
        """Who gets what is known as for a request of its own."""
        found = deploy(template(ASSIGNMENT), parameters={"who": {"value": ALICE}})
        self.assertEqual(context(found)["roles"], (OWNER, "Owner"))
        self.assertEqual(context(found)["principals"], (ALICE,))
        self.assertTrue(found.grants)
        self.assertIn(("grant", "microsoft.authorization/roleassignments/write"), done(found))

    def test_the_old_form_of_extensions(self) -> None:
        """The namespace of what extends is in the name."""
        old = {"type": f"{STORAGE}/providers/roleAssignments", "properties": {}}
        found = deploy(
            template({**old, "name": "[concat('data/Microsoft.Authorization/', guid('x'))]"})
        )
        self.assertEqual(
            ids(found, "grant"),
            [account("data") + "/providers/microsoft.authorization/roleassignments/*"],
        )
        hidden = deploy(template({**old, "name": "[concat(guid('y'), '/', guid('z'), guid('x'))]"}))
        self.assertIn("unknown", verbs(hidden))

    def test_identities_are_assigned(self) -> None:
        """Who runs code on a machine acts as its identities."""
        identity = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/admin"
        given = {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}}
        machine = {"type": "Microsoft.Compute/virtualMachines", "name": "vm", "identity": given}
        self.assertEqual(ids(deploy(template(machine)), "grant"), [identity.lower()])
        direct = call(
            "PATCH", f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm", {"identity": given}
        )
        self.assertEqual(ids(direct, "grant"), [identity.lower()])

    def test_access_policies_of_a_vault(self) -> None:
        """They say who reads its secrets."""
        vault = {"type": "Microsoft.KeyVault/vaults", "name": "v"}
        self.assertNotIn("grant", verbs(deploy(template(vault))))
        policies = {"properties": {"accessPolicies": [{"objectId": ALICE}]}}
        self.assertIn("grant", verbs(deploy(template({**vault, **policies}))))


class ScopesTests(SynchronousTestCase):
    """Where what a template says is written."""

    def test_another_group(self) -> None:
        """A nested deployment writes elsewhere."""
        found = deploy(template(nested(template(storage()), resourceGroup="Other")))
        group = f"/subscriptions/{SUBSCRIPTION}/resourcegroups/other"
        self.assertIn(account("data", group), ids(found, "write"))

    def test_another_subscription(self) -> None:
        found = deploy(
            template(
                nested(template(storage()), resourceGroup="g", subscriptionId="[toLower('S2')]")
            )
        )
        self.assertIn(account("data", "/subscriptions/s2/resourcegroups/g"), ids(found, "write"))

    def test_the_tenant_and_management_groups(self) -> None:
        """By the scope of a resource, or of a nested deployment."""
        groups = "/providers/Microsoft.Management/managementGroups/corp"
        for scope, kind in (("/", "Azure::Tenant"), (groups, "Azure::ManagementGroup")):
            found = deploy(template({**ASSIGNMENT, "scope": scope}))
            (touch,) = (each for each in found.touches if each.verb == "grant")
            direct = [each for each in touch.resource.parents if each.type != "Azure::Type"]
            self.assertEqual(direct[0].parents[0].type, kind)

    def test_a_scope_that_is_not_known(self) -> None:
        """It is unknown, whatever else is known of the resource."""
        for more in (
            {"scope": "[parameters('where')]"},
            {"scope": "[reference('x').id]"},
            {"scope": "[concat('/subscriptions/', uniqueString('a'))]"},
        ):
            found = deploy(template({**ASSIGNMENT, **more}))
            self.assertIn("unknown", verbs(found))
            self.assertNotIn("grant", verbs(found))
            self.assertEqual(context(found)["opaque"], ("scope",))
        inside = deploy(template(nested(template(storage()), resourceGroup="[parameters('g')]")))
        self.assertIn("unknown", verbs(inside))
        self.assertNotIn(account("data"), ids(inside, "write"))

    def test_deployments_at_other_scopes(self) -> None:
        """Subscription, management group and tenant."""
        for scope, above_it in (
            (f"/subscriptions/{SUBSCRIPTION}", ("Azure::Subscription", SUBSCRIPTION)),
            ("/providers/Microsoft.Management/managementGroups/m", ("Azure::ManagementGroup", "m")),
            ("", ("Azure::Tenant", "arm")),
        ):
            found = deploy(template(ASSIGNMENT), group=scope)
            (touch,) = (each for each in found.touches if each.verb == "grant")
            self.assertIn(above_it, above(touch))

    def test_the_older_paths_deploy_as_well(self) -> None:
        """Without a provider: what is inside is asked for, too."""
        body = {"properties": {"template": template(ASSIGNMENT)}}
        found = call("PUT", f"{GROUP}/deployments/d", body)
        self.assertIn("grant", verbs(found))


class NestedTests(SynchronousTestCase):
    """Templates in templates."""

    def test_inner_and_outer_values(self) -> None:
        """Which parameters an expression names depends on the options."""
        inner = template(storage("[parameters('p')]"), parameters={"p": {"defaultValue": "inner"}})
        for options, expected in ((False, "outer"), (True, "inner")):
            found = deploy(
                template(nested(inner, inner_scope=options)), parameters={"p": {"value": "outer"}}
            )
            self.assertIn(account(expected), ids(found, "write"))

    def test_values_are_handed_in(self) -> None:
        """An expression outside is evaluated outside."""
        inner = template(storage("[parameters('p')]"), parameters={"p": {}})
        handed = {"parameters": {"p": {"value": "[parameters('q')]"}}}
        found = deploy(
            template(nested(inner, inner_scope=True, properties=handed)),
            parameters={"q": {"value": "handed"}},
        )
        self.assertIn(account("handed"), ids(found, "write"))

    def test_depth_and_count_are_bounded(self) -> None:
        content = template(storage())
        for _ in range(NESTING_LIMIT + 1):
            content = template(nested(content))
        with self.assertRaises(UnclearRequestError):
            deploy(content)
        with self.assertRaises(UnclearRequestError):
            deploy(template(*[storage(f"s{n}") for n in range(RESOURCES_LIMIT + 1)]))

    def test_expressions_are_bounded(self) -> None:
        """Variables that double each other, and that name themselves, end soon."""
        doubled = {
            f"v{n}": f"[concat(variables('v{n + 1}'), variables('v{n + 1}'))]" for n in range(40)
        }
        found = deploy(template(storage("[variables('v0')]"), variables={**doubled, "v40": "x"}))
        self.assertEqual(ids(found, "write")[1:], [account("*")])
        loop = deploy(template(storage("[variables('a')]"), variables={"a": "[variables('a')]"}))
        self.assertEqual(ids(loop, "write")[1:], [account("*")])


class CarriedTests(SynchronousTestCase):
    """What deploys, inside of a template."""

    def test_stacks_and_what_is_elsewhere(self) -> None:
        """A stack has a template and a scope of its own; an application is kept elsewhere."""
        other = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/other"
        stack = {
            "type": "Microsoft.Resources/deploymentStacks",
            "name": "s",
            "properties": {
                "template": template(storage()),
                "deploymentScope": other,
                "actionOnUnmanage": {"resources": "delete"},
            },
        }
        found = deploy(template(stack))
        self.assertIn(account("data", other.lower()), ids(found, "write"))
        self.assertEqual(ids(found, "delete"), [f"{SUBSCRIPTION}/other"])
        for kind in (
            "Microsoft.Solutions/applications",
            "Microsoft.Blueprint/blueprintAssignments",
        ):
            self.assertIn("unknown", verbs(deploy(template({"type": kind, "name": "a"}))), kind)

    def test_the_scope_of_a_stack_is_none_of_a_deployment(self) -> None:
        """Azure does not look at it there, and neither do we."""
        ignored = {"deploymentScope": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/other"}
        found = deploy(template(nested(template(storage()), properties=ignored)))
        self.assertIn(account("data"), ids(found, "write"))

    def test_functions_outside_are_evaluated_outside(self) -> None:
        """In outer scope, resourceGroup() is the group of the template around it."""
        inner = template(storage("[resourceGroup().name]"))
        for options, expected in ((False, "shop"), (True, "other")):
            found = deploy(template(nested(inner, inner_scope=options, resourceGroup="other")))
            group = f"/subscriptions/{SUBSCRIPTION}/resourcegroups/other"
            self.assertIn(account(expected, group), ids(found, "write"))

    def test_options_that_are_not_known(self) -> None:
        """Then nothing inside is, either."""
        inner = nested(template(storage("[parameters('p')]")))
        properties = {**template(), "expressionEvaluationOptions": {"scope": "[parameters('x')]"}}
        properties["template"] = template(storage("[parameters('p')]"))
        found = deploy(template({**inner, "properties": properties}))
        self.assertIn(account("*"), ids(found, "write"))

    def test_modes_that_are_not_known(self) -> None:
        """What is not plainly incremental may delete."""
        for mode in ("complete", "[parameters('mode')]", "other"):
            self.assertIn("delete", verbs(deploy(template(), mode=mode)), mode)
        self.assertNotIn("delete", verbs(deploy(template(), mode="INCREMENTAL")))

    def test_another_deployment_on_failure(self) -> None:
        found = deploy(template(), onErrorDeployment={"type": "LastSuccessful"})
        self.assertEqual(context(found)["opaque"], ("onErrorDeployment",))

    def test_groups_by_template(self) -> None:
        """Their type has another name in operations."""
        group = {"type": "Microsoft.Resources/resourceGroups", "name": "g"}
        found = deploy(template(group), group=f"/subscriptions/{SUBSCRIPTION}")
        self.assertIn("microsoft.resources/subscriptions/resourcegroups/write", str(done(found)))


class HiddenTests(SynchronousTestCase):
    """What cannot be seen is unknown, and is said."""

    def test_links(self) -> None:
        """Of templates and parameters, at the top and inside."""
        link = {"templateLink": {"uri": "https://example.com/t.json"}}
        url = f"{GROUP}/providers/Microsoft.Resources/deployments/d"
        for body in (
            {"properties": {"mode": "Incremental", **link}},
            {"properties": {"template": template(nested(template(), properties=link))}},
            {"properties": {"template": template(), "parametersLink": {"uri": "https://x"}}},
            {"properties": {"Template": template(), "TEMPLATELINK": None}},
        ):
            found = call("PUT", url, body)
            self.assertIn("unknown", verbs(found), body)
            self.assertIn(context(found)["opaque"], (("templateLink",), ("parametersLink",)), body)

    def test_linked_parameters_are_not_what_defaults_say(self) -> None:
        content = template(storage("[parameters('p')]"), parameters={"p": {"defaultValue": "a"}})
        found = deploy(content, parametersLink={"uri": "https://x"})
        self.assertEqual(ids(found, "write")[1:], [account("*")])

    def test_extensions(self) -> None:
        """They write to other systems with the deployment's rights."""
        for content in (
            template(imports={"k": {"provider": "Kubernetes"}}),
            template(extensions={"g": {"name": "MicrosoftGraph"}}),
            template({"import": "k", "type": "core/Secret@v1", "name": "s"}),
            template({"extension": "g", "type": "Microsoft.Graph/applications@v1.0", "name": "s"}),
        ):
            found = deploy(content)
            self.assertIn("unknown", verbs(found))
            self.assertEqual(context(found)["opaque"], ("extension",))

    def test_types_that_are_none(self) -> None:
        """An expression, a text, nothing, another provider's."""
        for resource in (
            {"type": "[parameters('t')]", "name": "n"},
            {"type": "Microsoft.Storage", "name": "n"},
            {"type": 17, "name": "n"},
            {"name": "n"},
            {"type": "Nobody.Knows/things", "name": "n"},
            {"type": f"{STORAGE}/blobServices", "name": "one"},
            "[parameters('resource')]",
            None,
        ):
            self.assertIn("unknown", verbs(deploy(template(resource))), resource)
        content = template()
        content["resources"] = "[parameters('all')]"
        self.assertIn("unknown", verbs(deploy(content)))

    def test_no_template(self) -> None:
        bodies: tuple[dict[str, object], ...] = ({}, {"template": None}, {"template": "x"})
        for properties in bodies:
            url = f"{GROUP}/providers/Microsoft.Resources/deployments/d"
            self.assertIn("unknown", verbs(call("PUT", url, {"properties": properties})))


class SecretsTests(SynchronousTestCase):
    """Templates that read secrets."""

    def test_functions(self) -> None:
        """list*() hands keys out; so does who reads the outputs."""
        keys = f"[listKeys(resourceId('{STORAGE}','data'),'2023-01-01').keys[0].value]"
        content = template(storage(), outputs={"key": {"type": "string", "value": keys}})
        found = deploy(content)
        self.assertIn(("mint", "microsoft.resources/deployments/list"), done(found))
        self.assertEqual(context(found)["functions"], ("listkeys",))
        self.assertTrue(context(found)["outputs"])
        self.assertTrue(found.mints)
        plain = deploy(template(storage(tags={"t": "list (of) [listKeys()]"})))
        self.assertFalse(plain.mints)
        read = deploy(template(storage(tags={"t": "[reference('x','2020-01-01','Full')]"})))
        self.assertEqual(context(read)["functions"], ("reference",))

    def test_secrets_of_vaults_for_parameters(self) -> None:
        """Whoever deploys reads the secret: the same is asked as by the vault."""
        vault = f"{GROUP}/providers/Microsoft.KeyVault/vaults/Shop-KV"
        reference = {"reference": {"keyVault": {"id": vault}, "secretName": "Password"}}
        found = deploy(template(), parameters={"p": reference})
        self.assertEqual(ids(found, "getSecret"), ["shop-kv/password"])
        inside = deploy(template(nested(template(), properties={"parameters": {"p": reference}})))
        self.assertEqual(ids(inside, "getSecret"), ["shop-kv/password"])


class OtherCarriersTests(SynchronousTestCase):
    """What else carries templates, and deployments that write nothing yet."""

    def test_plans(self) -> None:
        """To validate and to ask what would be writes nothing: another question."""
        for action in ("validate", "whatIf"):
            url = f"{GROUP}/providers/Microsoft.Resources/deployments/d/{action}"
            found = call("POST", url, {"properties": {"template": template(storage(), ASSIGNMENT)}})
            self.assertEqual(verbs(found), {"action", "plan"})
            self.assertIn(account("data"), ids(found, "plan"))

    def test_complete_deletes(self) -> None:
        """All that the template does not name."""
        found = deploy(template(), mode="Complete")
        self.assertEqual(ids(found, "delete"), [f"{SUBSCRIPTION}/shop"])
        self.assertTrue(found.notes)

    def test_stacks(self) -> None:
        """They write elsewhere, and delete what they do not name any more."""
        url = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Resources/deploymentStacks/s"
        properties = {
            "template": template(storage()),
            "deploymentScope": GROUP,
            "actionOnUnmanage": {"resources": "delete"},
        }
        found = call("PUT", url, {"properties": properties})
        self.assertIn(account("data"), ids(found, "write"))
        self.assertEqual(ids(found, "delete"), [f"{SUBSCRIPTION}/shop"])
        kept = {**properties, "actionOnUnmanage": {"resources": "detach"}, "deploymentScope": 1}
        hidden = call("PUT", url, {"properties": kept})
        self.assertNotIn("delete", verbs(hidden))
        self.assertIn("unknown", verbs(hidden))

    def test_template_specs(self) -> None:
        """What is stored writes nothing yet; what is linked counts."""
        url = f"{GROUP}/providers/Microsoft.Resources/templateSpecs/t/versions/1"
        linked = [{"path": "a.json", "template": template(ASSIGNMENT)}]
        body = {"properties": {"mainTemplate": template(storage()), "linkedTemplates": linked}}
        found = call("PUT", url, body)
        self.assertEqual(len(ids(found, "plan")), 2)

    def test_managed_applications_and_blueprints(self) -> None:
        """What they deploy is kept elsewhere."""
        app = f"{GROUP}/providers/Microsoft.Solutions/applications/a"
        self.assertIn("unknown", verbs(call("PUT", app, {"properties": {}})))
        definition = f"{GROUP}/providers/Microsoft.Solutions/applicationDefinitions/a"
        body = {"properties": {"mainTemplate": '{"resources": []}', "authorizations": [{}]}}
        self.assertIn("grant", verbs(call("PUT", definition, body)))
        blueprint = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Blueprint"
        role = {
            "kind": "roleAssignment",
            "properties": {
                "roleDefinitionId": f"/providers/x/roleDefinitions/{OWNER}",
                "principalIds": [ALICE],
            },
        }
        found = call("PUT", f"{blueprint}/blueprints/b/artifacts/r", role)
        self.assertEqual(context(found)["roles"], (OWNER, "Owner"))
        self.assertIn("grant", verbs(found))
        assigned = call("PUT", f"{blueprint}/blueprintAssignments/b", {"properties": {}})
        self.assertIn("unknown", verbs(assigned))

    def test_deployment_scripts_execute(self) -> None:
        script = {"type": "Microsoft.Resources/deploymentScripts", "name": "s"}
        self.assertIn("execute", verbs(deploy(template(script))))
        self.assertTrue(deploy(template(nested(template(script)))).executes)
