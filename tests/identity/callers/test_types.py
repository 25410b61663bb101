"""Each type of issuer, with the tokens that its vendor documents."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError
from hoopgw.identity.callers import problems
from hoopgw.identity.oidc import TokenUse, check_claims
from hoopgw.identity.settings import IssuerSettings, PersonRule
from hoopgw.wire_values import hop_to_dict, origin_to_dict
from tests.identity.callers.caller_case import CallerCase, declared
from tests.identity.callers.shapes import (
    AGENT_APP,
    CLUSTER,
    DOMAIN,
    OURS,
    entra_agent,
    entra_app,
    entra_person,
    github,
    kubernetes,
    settings_of,
    spiffe,
)
from tests.identity.forge import NOW


class GitHubTests(CallerCase):
    """``type = "github-actions"``."""

    kind = "github-actions"

    def test_a_job(self) -> None:
        """The repository is the principal, by its id; the run is for the recording."""
        found = self.authenticate(github())
        self.assertEqual(found.hop.id, "gha|74")
        self.assertEqual(found.hop.name, "octo-org/octo-repo:prod")
        self.assertEqual((found.hop.kind, found.hop.groups), ("workload", frozenset()))
        said = dict(found.hop.attributes)
        self.assertEqual(said["repositoryId"], "74")
        self.assertEqual(said["repositoryOwnerId"], "65")
        self.assertEqual((said["environment"], said["ref"]), ("prod", "refs/heads/main"))
        self.assertEqual(said["jobWorkflow"], github()["job_workflow_ref"])
        self.assertEqual(said["issuer"], "gha")
        origin = dict(found.origin.attributes)
        self.assertEqual((origin["actor_id"], origin["run_id"]), ("12", "32291736541"))
        self.assertEqual((origin["run_attempt"], origin["sub"]), ("2", github()["sub"]))
        self.assertEqual(found.session_lifetime, 3600.0)

    def test_a_job_without_environment(self) -> None:
        """Then the branch names it, and there is no such attribute."""
        found = self.authenticate(github(environment=None))
        self.assertEqual(found.hop.name, "octo-org/octo-repo:main")
        self.assertNotIn("environment", dict(found.hop.attributes))

    def test_whose_jobs_must_be_said_by_ids(self) -> None:
        """A subject or a name is not enough: names are given to others."""
        self.assertEqual(self.lacks(), [])
        self.assertEqual(self.lacks(required={"repository_id": ["74", "75"]}), [])
        self.assertEqual(self.lacks(required={}), ["required"])
        self.assertEqual(self.lacks(required={"sub": ["repo:octo-org/octo-repo:x"]}), ["required"])
        self.assertEqual(self.lacks(required={"repository": ["octo-org/r"]}), ["required"])
        named = {"repository_owner_id": ["octo-org"]}
        self.assertEqual(self.lacks(required=named), ["required.repository_owner_id"])
        self.assertEqual(self.lacks(kind="person"), ["kind"])
        self.assertEqual(self.lacks(groups_claim="groups"), ["groups_claim"])

    def test_somebody_else_s_repository(self) -> None:
        """With our audience and the same names, but other ids."""
        self.assert_refused(github(repository_owner_id="66"), "repository_owner_id")
        self.assert_refused(github(repository_owner_id=65), "repository_owner_id")
        self.assert_refused(github(repository_owner_id=None), "repository_owner_id")
        self.assert_refused(github(repository_owner_id=["65"]), "repository_owner_id")
        self.assert_refused(github(aud="https://github.com/octo-org"), "aud")

    def test_older_subjects(self) -> None:
        """Whatever the subject is, the principal is the repository."""
        for sub in ("repo:octo-org/octo-repo:ref:refs/heads/main", "octocat", "x" * 500):
            self.assertEqual(self.authenticate(github(sub=sub)).hop.id, "gha|74")

    def test_who_set_it_off(self) -> None:
        """A person of our own directory stands behind the job."""
        rule = PersonRule(ids={"12": "corp|alice-1"})
        found = self.authenticate(github(), persons=rule)
        self.assertEqual(found.origin.persons, frozenset({"corp|alice-1"}))
        self.assertEqual(self.authenticate(github()).origin.persons, frozenset())
        self.assert_refused(github(actor_id="13"), "no person who is known", persons=rule)
        self.assert_refused(github(actor_id=None), "no person who is known", persons=rule)
        self.assert_refused(github(actor_id=12), "actor_id", persons=rule)
        kept = evolve(rule, unknown="keep")
        found = self.authenticate(github(actor_id="13"), persons=kept)
        self.assertEqual(found.origin.persons, frozenset())

    def test_ids_of_persons(self) -> None:
        """They are ids of principals, or the rule would silently match nobody."""
        for wrong in ("alice", "corp|", "Corp|x", "corp|a b", "corp|a~b", ""):
            self.assertRaises(ValueError, PersonRule, ids={"12": wrong})
        self.assertRaises(ValueError, PersonRule, ids={"": "corp|a"})

    def test_agents(self) -> None:
        """A workflow that is an AI agent is one to policy."""
        found = self.authenticate(github(), kind="agent")
        self.assertEqual(found.hop.kind, "agent")


class KubernetesTests(CallerCase):
    """``type = "kubernetes"``."""

    kind = "kubernetes"
    header: ClassVar[dict[str, Any]] = {"typ": None}

    def test_a_pod(self) -> None:
        """The account is the principal; the pod is for the recording. There is no ``typ``."""
        found = self.authenticate(kubernetes(), header=self.header)
        self.assertEqual(found.hop.id, "k8s|system:serviceaccount:orders:migrator")
        self.assertEqual(found.hop.name, "orders/migrator")
        self.assertEqual(
            dict(found.hop.attributes),
            {"issuer": "k8s", "namespace": "orders", "serviceAccount": "migrator"},
        )
        origin = dict(found.origin.attributes)
        self.assertEqual(origin["pod.uid"], "5e0bd49b-f040-43b0-99b7-22765a53f7f3")
        self.assertEqual(origin["serviceaccount.uid"], "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798")
        self.assertEqual((origin["node.name"], origin["pod.name"]), ("worker-1", "migrator-x7k2p"))

    def test_which_accounts(self) -> None:
        """Only those that are named, or all of a namespace."""
        inside = dict(kubernetes()["kubernetes.io"])
        other = {
            "sub": "system:serviceaccount:orders:default",
            "kubernetes.io": inside | {"serviceaccount": {"name": "default", "uid": "u"}},
        }
        self.assert_refused(kubernetes(**other), "orders/default is not allowed")
        self.authenticate(kubernetes(**other), service_accounts=["orders/*"])
        self.assert_refused(kubernetes(), "not allowed", service_accounts=["order/*"])
        self.assert_refused(kubernetes(), "not allowed", service_accounts=["orders/migrator2"])

    def test_settings(self) -> None:
        """The cluster and the accounts must be named, and no account is a pattern of its own."""
        self.assertEqual(self.lacks(), [])
        self.assertEqual(self.lacks(service_accounts=[]), ["service_accounts"])
        self.assertEqual(self.lacks(issuer=""), ["issuer"])
        for wrong in ("*", "*/*", "orders", "orders/", "orders/mig*", "Orders/x", "a/b/c"):
            self.assertEqual(self.lacks(service_accounts=[wrong]), ["service_accounts"], wrong)
        self.assertEqual(self.lacks(audiences=[CLUSTER]), ["audiences"])
        self.assertEqual(
            self.lacks(audiences=["https://kubernetes.default.svc.cluster.local"]), ["audiences"]
        )

    def test_a_token_without_a_pod(self) -> None:
        """Whoever may create tokens could make one for anybody."""
        inside = dict(kubernetes()["kubernetes.io"])
        del inside["pod"]
        claims = kubernetes(**{"kubernetes.io": inside})
        self.assert_refused(claims, "not bound to a pod")
        self.assertNotIn("pod.uid", dict(self.authenticate(claims, unbound=True).origin.attributes))

    def test_what_does_not_agree(self) -> None:
        """Subject and claims name the same account; old tokens of secrets have no such claims."""
        self.assert_refused(kubernetes(sub="system:serviceaccount:orders:admin"), "another account")
        self.assert_refused(kubernetes(sub="orders:migrator"), "another account")
        self.assert_refused(kubernetes(**{"kubernetes.io": None}), "namespace")
        self.assert_refused(kubernetes(**{"kubernetes.io": ["orders"]}), "not an object")
        legacy = {
            "kubernetes.io": None,
            "kubernetes.io/serviceaccount/namespace": "orders",
            "kubernetes.io/serviceaccount/service-account.name": "migrator",
        }
        self.assert_refused(kubernetes(**legacy), "namespace")

    def test_a_token_for_the_cluster_too(self) -> None:
        """We would hold what opens its API server."""
        for more in (CLUSTER, "https://kubernetes.default.svc"):
            self.assert_refused(kubernetes(aud=["hoopgw", more], azp="x"), "aud|API server")


class SpiffeTests(CallerCase):
    """``type = "spiffe"``."""

    kind = "spiffe"

    def test_a_workload(self) -> None:
        """Without ``iss``, and with any ``typ`` that the standard knows, or none."""
        for header in ({"typ": None}, {"typ": "JWT"}, {"typ": "JOSE"}):
            found = self.authenticate(spiffe(), header=header)
        self.assertEqual(found.hop.id, f"mesh|spiffe://{DOMAIN}/ns/orders/sa/migrator")
        self.assertEqual(found.hop.name, f"{DOMAIN}/ns/orders/sa/migrator")
        self.assertEqual(
            dict(found.hop.attributes),
            {"issuer": "mesh", "trustDomain": DOMAIN, "path": "/ns/orders/sa/migrator"},
        )

    def test_issuer_of_the_domain(self) -> None:
        """SPIRE may have one; it only counts if it is configured."""
        found = self.authenticate(spiffe(iss="https://oidc.prod.example.com"))
        self.assertEqual(dict(found.origin.attributes)["iss"], "https://oidc.prod.example.com")
        named: dict[str, Any] = {"issuer": "https://oidc.prod.example.com"}
        self.authenticate(spiffe(iss=named["issuer"]), **named)
        self.authenticate(spiffe(), **named)
        self.assert_refused(spiffe(iss="https://other.example"), "iss", **named)
        self.assert_refused(spiffe(iss=5), "iss")

    def test_another_trust_domain(self) -> None:
        """Whoever signs it."""
        for sub in (
            "spiffe://dev.example.com/ns/orders/sa/migrator",
            f"spiffe://{DOMAIN}.evil.com/ns/orders/sa/migrator",
            f"spiffe://{DOMAIN.upper()}/ns/orders/sa/migrator",
            f"spiffe://{DOMAIN}",
            f"spiffe://{DOMAIN}/",
            f"spiffe://{DOMAIN}/ns//sa",
            f"spiffe://{DOMAIN}/ns/../admin",
            f"spiffe://{DOMAIN}/ns/./admin",
            f"spiffe://{DOMAIN}/ns/orders/",
            f"spiffe://{DOMAIN}/ns%2Forders",
            f"spiffe://user@{DOMAIN}/ns",
            f"spiffe://{DOMAIN}:443/ns",
            f"spiffe://{DOMAIN}/ns?x",
            f"https://{DOMAIN}/ns",
            "alice",
        ):
            self.assert_refused(spiffe(sub=sub), "issuer is not configured")

    def test_audience(self) -> None:
        """There must be one, ours, and no other."""
        self.assert_refused(spiffe(aud=None), "aud")
        self.assert_refused(spiffe(aud=[]), "aud")
        self.assert_refused(spiffe(aud=["orders"]), "aud")
        self.assert_refused(spiffe(aud=["hoopgw", "orders"], azp="x"), "several audiences")
        self.authenticate(spiffe(aud="hoopgw"))

    def test_paths(self) -> None:
        """If any are named, no other workload may log in."""
        for good in ("/ns/orders/sa/migrator", "/ns/orders/*", "/*", "/ns/*"):
            self.authenticate(spiffe(), paths=[good])
        for wrong in ("/ns/orders/sa/migrator2", "/ns/order/*", "/ns/orders"):
            self.assert_refused(spiffe(), "not allowed", paths=[wrong])

    def test_moments(self) -> None:
        """``iat`` may be missing; ``exp`` may not, nor be far away."""
        self.authenticate(spiffe(iat=None))
        self.assert_refused(spiffe(exp=None), "exp")
        self.assert_refused(spiffe(iat=None, exp=NOW + 90_000), "lifetime")
        self.assert_refused(spiffe(iat=None, exp=NOW - 31), "expired")

    def test_settings(self) -> None:
        """The domain and where its keys are."""
        self.assertEqual(self.lacks(), [])
        self.assertEqual(self.lacks(trust_domain=""), ["trust_domain"])
        self.assertEqual(self.lacks(trust_domain="spiffe://x"), ["trust_domain"])
        self.assertEqual(self.lacks(jwks_url=""), ["jwks_url"])
        for wrong in ("ns/*", "/ns*", "/../x", "/ns/", "*"):
            self.assertEqual(self.lacks(paths=[wrong]), ["paths"], wrong)


class SettingsTests(SynchronousTestCase):
    """What holds for all types."""

    def test_keys_of_other_types(self) -> None:
        """A key that would do nothing is a mistake, and said to be one."""
        for changes in (
            {"service_accounts": ["a/b"]},
            {"unbound": True},
            {"trust_domain": "x"},
            {"paths": ["/x"]},
            {"roles": ["x"]},
            {"version": "1.0"},
        ):
            made = settings_of("github-actions", **changes)
            self.assertEqual([problem.key for problem in problems(made)], list(changes))

    def test_audiences_of_others(self) -> None:
        """However they are spelt."""
        for audience in (
            "api://AzureADTokenExchange",
            "https://management.azure.com",
            "https://management.azure.com/",
            "https://MANAGEMENT.azure.com//",
            "https://management.core.windows.net/.default",
            "https://graph.microsoft.com",
            "https://management.usgovcloudapi.net",
            "sts.amazonaws.com",
        ):
            made = settings_of("entra", audiences=[OURS, audience])
            self.assertEqual([problem.key for problem in problems(made)], ["audiences"], audience)

    def test_unknown_type(self) -> None:
        """It is refused when it is read."""
        values = {"alias": "x", "issuer": "https://x.example", "audiences": ["hoopgw"]}
        self.assertRaises(ValueError, IssuerSettings, type="saml", **values)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


GOOD = {
    "github-actions": github(),
    "kubernetes": kubernetes(),
    "spiffe": spiffe(),
    "entra": entra_person(),
    "azure-devops": entra_app(),
}


class AnyClaimsTests(SynchronousTestCase):
    """Whatever an issuer signs, the outcome is somebody of its own or an `AuthenticationError`."""

    @given(st.sampled_from(sorted(GOOD)), st.data())
    def test_any_claims(self, kind: str, data: st.DataObject) -> None:
        """Also where a claim is a member of another."""
        good = GOOD[kind]
        names = [*good, "xms_act_fct", "xms_sub_fct", "idtyp", "roles", "cnf", "actor_id"]
        claims = good | data.draw(st.dictionaries(st.sampled_from(names), json_values))
        if kind == "kubernetes" and data.draw(st.booleans()):
            inside = data.draw(st.dictionaries(st.sampled_from(["pod", "node"]), json_values))
            claims = good | {"kubernetes.io": good["kubernetes.io"] | inside}
        settings = settings_of(kind)
        use = data.draw(st.sampled_from(TokenUse))
        try:
            found = check_claims(claims, settings, use, NOW)
        except AuthenticationError:
            return
        self.assertTrue(found.hop.id.startswith(f"{settings.alias}|"))
        self.assertTrue(found.hop.name.isprintable())
        hash(found.hop)
        json.dumps(hop_to_dict(found.hop))
        json.dumps(origin_to_dict(found.origin))
        declared(found.hop)

    def test_policy_knows_all_attributes(self) -> None:
        """What each type says is what the schema declares, for each kind of hop."""
        for kind, claims in GOOD.items():
            found = check_claims(claims, settings_of(kind), TokenUse.ACCESS, NOW).hop
            declared(found, evolve(found, kind="agent"))
        agent = settings_of("entra", version="1.0", clients=[AGENT_APP])
        declared(check_claims(entra_agent(), agent, TokenUse.ACCESS, NOW).hop)
