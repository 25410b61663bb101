"""Attacks on how requests to Azure are read: paths, bodies and templates that say two things.

Where it can be shown, the naive reading that the attack is made for is shown beside ours.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote, unquote

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw_azure.asked import Asked
from hoopgw_azure.calls import Call
from hoopgw_azure.errors import UnclearRequestError
from tests.azure.world import (
    ARM,
    COMPUTE,
    GROUP,
    SUBSCRIPTION,
    asked,
    call,
    deploy,
    template,
    verbs,
)

ROLE: Final = {
    "type": "Microsoft.Authorization/roleAssignments",
    "name": "00000000-0000-0000-0000-000000000001",
    "properties": {"roleDefinitionId": "x", "principalId": "y"},
}
DEPLOYMENT: Final = f"{GROUP}/providers/Microsoft.Resources/deployments/d"
SECRETIVE: Final = frozenset({"grant", "mint", "execute", "unknown"})


def dangerous(attack: Callable[[], Call]) -> bool:
    """Whether a request is refused, or is asked about as what it is."""
    try:
        return bool(verbs(attack()) & SECRETIVE)
    except UnclearRequestError:
        return True


def sent(*segments: str, method: str = "GET", slash: bool = False) -> Call:
    """Return what a request with exactly these segments is."""
    return ARM.call(Asked(method=method, segments=segments, slash=slash))


class PathTests(SynchronousTestCase):
    """Paths that another reader may take for another resource."""

    def test_segments_that_are_not_clear(self) -> None:
        """Whatever decoded to a separator, to a dot, to nothing, or to what cannot be shown."""
        front = ("subscriptions", SUBSCRIPTION, "resourceGroups")
        for name in (
            *("", ".", "..", "a/b", "a\\b", " shop", "shop ", "\tshop", "shop\u00a0"),
            *("shop\0", "shop\r\n", "shop\u2028", "shop\u200b", "shop\u202e", "\ufeffshop"),
            *("\u212aube", "\u017fhop", "providers", "PROVIDERS"),
        ):
            with self.assertRaises(UnclearRequestError, msg=repr(name)):
                sent(*front, name, method="DELETE")

    def test_the_word_providers_as_a_name(self) -> None:
        """Looking for the last one and reading from the front disagree: refused."""
        tricks = (
            f"{COMPUTE}/virtualMachines/providers/Microsoft.Authorization/roleAssignments/r",
            f"{GROUP[:-4]}providers/Microsoft.Authorization/roleAssignments/r",
            "/subscriptions/providers/Microsoft.Authorization/roleAssignments/r",
            f"{COMPUTE}/virtualMachines/providers",
            f"{GROUP}/things/x/providers/Microsoft.Compute/virtualMachines/vm",
            "/providers/providers/Microsoft.Compute/virtualMachines",
            f"{GROUP}/providers/Microsoft.Compute/providers/x",
        )
        for url in tricks:
            naive = re.search(r".*/providers/([^/]+)(/.*)?", url)
            self.assertIsNotNone(naive)  # so somebody reads it as something
            self.assertTrue(dangerous(lambda url=url: call("PUT", url)), url)  # type: ignore[misc]  # a bound default

    def test_slashes_at_the_end(self) -> None:
        """They are not taken: a collection is none of its resources."""
        with self.assertRaises(UnclearRequestError):
            sent("subscriptions", "s", "resourceGroups", slash=True)

    def test_encoded_twice(self) -> None:
        """Decoded once; what would then be left encoded is refused."""
        with self.assertRaises(UnclearRequestError):
            call("DELETE", f"{GROUP}%252fproviders")

    def test_actions_do_not_pass_for_resources(self) -> None:
        """An action's name in the place of a resource's, by another method, is no action."""
        machine = f"{COMPUTE}/virtualMachines/vm"
        for method in ("GET", "PUT", "PATCH", "DELETE", "HEAD"):
            self.assertEqual(verbs(call(method, f"{machine}/runCommand")), {"unknown"}, method)
        self.assertEqual(verbs(call("POST", machine)), {"write"})
        account = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/a"
        for method in ("GET", "HEAD", "PUT"):
            self.assertTrue(verbs(call(method, f"{account}/listKeys")) <= {"unknown", "mint"})

    def test_a_group_named_as_a_scope(self) -> None:
        """The front of the path alone says which subscription and group it is."""
        url = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/subscriptions/providers"
        (touch,) = call("GET", f"{url}/Microsoft.Compute/virtualMachines").touches
        self.assertIn("/resourcegroups/subscriptions/", touch.resource.id)

    def test_types_that_are_no_types(self) -> None:
        """Letters of other scripts, percent signs, and empty ones."""
        for kind in (
            "virtual\u041cachines",
            "virtual%4Dachines",
            "virtualMachines;x",
            "virtualMachines*",
        ):
            self.assertTrue(
                dangerous(
                    lambda kind=kind: sent(  # type: ignore[misc]  # a bound default
                        "subscriptions",
                        "s",
                        "providers",
                        "Microsoft.Compute",
                        kind,
                        "vm",
                        method="PUT",
                    )
                ),
                kind,
            )

    @given(
        st.lists(
            st.sampled_from(["/", "//", "/./", "/../", "%2f", "\\", ";", "%5c", "."]),
            min_size=1,
            max_size=3,
        )
    )
    def test_separators_in_a_name_never_move_it(self, tricks: list[str]) -> None:
        """Whatever is put behind a group's name, once decoded: it is that group's, or refused."""
        name = "shop" + "".join(tricks) + "other"
        try:
            found = sent("subscriptions", "s", "resourceGroups", unquote(name), method="DELETE")
        except UnclearRequestError:
            return
        self.assertEqual(found.touches[0].resource.id, f"s/{unquote(name)}")
        self.assertNotIn("/", unquote(name))


def hidden_roles() -> Iterator[tuple[str, bytes]]:
    """Yield bodies of deployments in which a role assignment is hidden."""
    role = json.dumps(ROLE)
    plain = json.dumps({"properties": {"mode": "Incremental", "template": template(ROLE)}})
    yield "by the case of members", plain.replace("resources", "RESOURCES").encode()
    yield "by the case of the type", plain.replace("roleAssignments", "ROLEASSIGNMENTS").encode()
    yield "by escapes", plain.replace("resources", "re\\u0073ources").encode()
    yield (
        "behind an empty list",
        ('{"properties": {"template": {"resources": [], "Resources": [' + role + "]}}}").encode(),
    )
    yield (
        "before an empty list",
        ('{"properties": {"template": {"resources": [' + role + '], "resources": []}}}').encode(),
    )
    yield (
        "behind another template",
        (
            '{"properties": {"template": {"resources": []}, "template": {"resources": ['
            + role
            + "]}}}"
        ).encode(),
    )
    yield (
        "behind other properties",
        (
            '{"properties": {"template": {}}, "PROPERTIES": {"template": {"resources": ['
            + role
            + "]}}}"
        ).encode(),
    )
    yield (
        "behind a comment that only one reader ends",
        ('{"properties": {"template": {"resources": [ /* // */ ' + role + " ]}}}").encode(),
    )
    yield (
        "in a comment for who reads a text as one",
        (
            '{"properties": {"template": {"x": "/*", "resources": [' + role + '], "y": "*/"}}}'
        ).encode(),
    )
    yield "by UTF-16", plain.encode("utf-16")
    yield "by a mark", b"\xef\xbb\xbf" + plain.encode()
    yield (
        "by an object instead of a list",
        json.dumps(
            {"properties": {"template": {"languageVersion": "2.0", "resources": {"a": ROLE}}}}
        ).encode(),
    )
    yield (
        "by a loop",
        json.dumps(
            {
                "properties": {
                    "template": template({**ROLE, "copy": {"name": "c", "count": "[one()]"}})
                }
            }
        ).encode(),
    )
    yield (
        "by a condition",
        json.dumps(
            {"properties": {"template": template({**ROLE, "condition": "[parameters('no')]"})}}
        ).encode(),
    )


class TemplateTests(SynchronousTestCase):
    """A role assignment in a deployment, and ways not to look like one."""

    def test_hidden_role_assignments(self) -> None:
        for name, body in hidden_roles():
            self.assertTrue(dangerous(lambda body=body: call("PUT", DEPLOYMENT, body)), name)  # type: ignore[misc]  # a bound default

    def test_the_standard_library_alone_would_be_deceived(self) -> None:
        """The last member of a name wins there, whatever wins at Azure."""
        bodies = dict(hidden_roles())
        read = json.loads(bodies["before an empty list"])
        self.assertEqual(read["properties"]["template"]["resources"], [])

    def test_types_of_the_role_assignment(self) -> None:
        """As a child, as an extension, nested, by the old form, by other carriers."""
        account = {"type": "Microsoft.Storage/storageAccounts", "name": "a"}
        old = {**ROLE, "type": "Microsoft.Storage/storageAccounts/providers/roleAssignments"}
        nested: dict[str, object] = {
            "type": "Microsoft.Resources/deployments",
            "name": "n",
            "properties": {"template": template(ROLE)},
        }
        deep = {**nested, "properties": {"template": template(nested)}}
        for resource in (
            {
                **account,
                "resources": [
                    {
                        **ROLE,
                        "type": "providers/roleAssignments",
                        "name": "Microsoft.Authorization/x",
                    }
                ],
            },
            {
                **account,
                "resources": [
                    {
                        **old,
                        "type": "providers/roleAssignments",
                        "name": "[concat('Microsoft.','Authorization','/x')]",
                    }
                ],
            },
            {**old, "name": "a/Microsoft.Authorization/x"},
            {**ROLE, "scope": "Microsoft.Storage/storageAccounts/a"},
            {**ROLE, "scope": "/"},
            nested,
            deep,
            {**nested, "type": "microsoft.resources/DEPLOYMENTS"},
            {**ROLE, "type": "Microsoft.Authorization/roleAssignmentScheduleRequests"},
            {**ROLE, "type": "[concat('Microsoft.Authorization', '/roleAssignments')]"},
            {**ROLE, "type": "[parameters('type')]"},
            {**ROLE, "existing": "true"},
        ):
            found = deploy(template(resource), parameters={"type": {"value": ROLE["type"]}})
            self.assertTrue(verbs(found) & SECRETIVE, resource)

    def test_what_exists_is_only_read_if_it_says_so_in_truth(self) -> None:
        """``existing`` as a text or a number is none."""
        for value in ("true", 1, [True], {"a": True}, "[equals(1,1)]"):
            self.assertIn("grant", verbs(deploy(template({**ROLE, "existing": value}))))
        self.assertNotIn("grant", verbs(deploy(template({**ROLE, "existing": True}))))

    def test_names_that_break_out(self) -> None:
        """A name with slashes, dots or a scope in it moves nothing out of its scope."""
        for name in (
            "../../other/providers/Microsoft.Authorization/roleAssignments/x",
            "a/../b",
            "/subscriptions/evil",
            "a/b/c/d",
            "",
        ):
            found = deploy(template({"type": "Microsoft.Storage/storageAccounts", "name": name}))
            for touch in found.touches:
                inside = touch.resource.id.startswith(f"{GROUP.lower()}/providers/")
                self.assertTrue(inside or touch.verb == "unknown", (name, touch))

    def test_scopes_that_pretend(self) -> None:
        """A scope is known whole, or it is not known."""
        for scope in (
            "/subscriptions/s/resourceGroups/[parameters('g')]",
            "[concat('/subscriptions/', parameters('s'), '/resourceGroups/shop')]",
            "/subscriptions/s/resourceGroups/providers",
            "/subscriptions//resourceGroups/shop",
            "/subscriptions/s/../t",
            "https://management.azure.com/subscriptions/s",
            "[subscriptionResourceId(guid('x'), 'Microsoft.Storage/storageAccounts', 'a')]",
        ):
            found = deploy(template({**ROLE, "scope": scope}))
            self.assertTrue(verbs(found) & {"unknown"} or "[" in scope, scope)
            self.assertNotIn(
                f"{GROUP.lower()}/providers/microsoft.authorization/roleassignments",
                " ".join(t.resource.id for t in found.touches if t.verb == "grant"),
            )

    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.text(max_size=8)
            | st.sampled_from(
                ["[parameters('a')]", "[", "[]", "[[x]", "Microsoft.Compute/disks", "/"]
            ),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        [
                            "type",
                            "name",
                            "scope",
                            "resources",
                            "properties",
                            "template",
                            "copy",
                            "existing",
                            "parameters",
                            "variables",
                            "identity",
                            "value",
                        ]
                    ),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=25,
        )
    )
    def test_any_template_is_read_or_refused(self, content: object) -> None:
        """No template raises anything else, and none is only a deployment unless it is empty."""
        try:
            found = deploy(content)
        except UnclearRequestError:
            return
        has_resources = isinstance(content, dict) and content.get("resources")
        if has_resources:
            self.assertGreater(len(found.touches), 1)


class ExpressionTests(SynchronousTestCase):
    """Expressions that run away."""

    def test_bombs_end(self) -> None:
        """Depth, doubling, length and cycles."""
        deep = "[" + "concat(" * 3000 + "'x'" + ")" * 3000 + "]"
        wide = "[concat(" + ",".join(["'x'"] * 5000) + ")]"
        doubled = {
            f"v{n}": "[concat(" + ",".join([f"variables('v{n + 1}')"] * 20) + ")]"
            for n in range(20)
        }
        for name in (deep, wide, "[variables('v0')]"):
            found = deploy(
                template({"type": "Microsoft.Compute/disks", "name": name}, variables=doubled)
            )
            self.assertTrue(found.touches[-1].resource.id.endswith(("/*", "x" * 5000)))

    def test_long_texts_end_soon(self) -> None:
        """No text makes the search for functions go over it again and again."""
        for piece in ("'", "''x", "a (", "list", "(' "):
            started = time.perf_counter()
            deploy(template({"type": "Microsoft.Compute/disks", "name": "[" + piece * 500_000}))
            self.assertLess(time.perf_counter() - started, 30.0, piece)
        with self.assertRaises(UnclearRequestError):
            deploy(template({"type": "Microsoft.Compute/disks", "name": "[" + "x" * 30_000 + "]"}))

    def test_what_is_quoted(self) -> None:
        """A quote in a literal does not end it."""
        name = "[concat('it''s', '-', 'x')]"
        found = deploy(template({"type": "Microsoft.Compute/disks", "name": name}))
        self.assertTrue(found.touches[-1].resource.id.endswith("/it's-x"))


class QueryTests(SynchronousTestCase):
    """Queries that say two things."""

    def test_doubles(self) -> None:
        for query in (
            "api-version=2021-04-01&Api-Version=2021-04-02",
            "api%2Dversion=a&api-version=b",
        ):
            with self.assertRaises(UnclearRequestError):
                call("GET", f"{GROUP}?{query}")

    def test_an_encoded_name_is_the_same_name(self) -> None:
        """The JavaScript SDK sends an encoded hyphen."""
        self.assertEqual(call("GET", f"{GROUP}?api%2Dversion=2021-04-01").api_version, "2021-04-01")

    def test_texts_are_for_people(self) -> None:
        """What is shown to reviewers is the decoded request, with nothing left out of it."""
        one = asked("GET", f"{GROUP}?$filter={quote('name eq x')}")
        self.assertIn("$filter=name eq x", ARM.operation(one, ARM.call(one), "a").text)
