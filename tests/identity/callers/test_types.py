"""Each type of issuer, with the tokens that its vendor documents."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError
from hoopgw.events import Hop, Principal
from hoopgw.identity.callers import problems
from hoopgw.identity.jose import PublicKey
from hoopgw.identity.oidc import Authenticated, TokenUse, check_claims
from hoopgw.identity.settings import IssuerSettings, PersonRule
from hoopgw.policy.decision import Allow
from hoopgw.policy.engine import CedarPolicy
from hoopgw.wire_values import hop_to_dict, origin_to_dict
from tests.identity.callers.shapes import (
    AGENT_APP,
    AGENT_OID,
    ALICE,
    APP,
    APP_OID,
    BLUEPRINT,
    CLI,
    CLUSTER,
    DOMAIN,
    OURS,
    TENANT,
    V1,
    V2,
    FixedKeys,
    entra_agent,
    entra_app,
    entra_person,
    github,
    issuers_of,
    kubernetes,
    settings_of,
    spiffe,
)
from tests.identity.forge import NOW, rsa_key, run, token
from tests.policy.world import PERMIT_ALL, operation, policies, shelf

PERMIT = CedarPolicy(policies(PERMIT_ALL), lambda: NOW)


def declared(*hops: Hop) -> None:
    """Check that policy can be asked about hops, with all that they have."""
    for hop in hops:
        who = Principal(chain=(hop,), session="s", expires=NOW)
        verdict = PERMIT.decide(who, operation("take", shelf("a")))
        if not isinstance(verdict.decision, Allow):
            raise AssertionError(verdict)


class CallerCase(SynchronousTestCase):
    """One issuer of one type."""

    kind: str

    def authenticate(
        self,
        claims: dict[str, Any],
        use: TokenUse = TokenUse.ACCESS,
        *,
        header: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Authenticated:
        """Say who a token stands for."""
        issuers = issuers_of(settings_of(self.kind, **changes))
        return run(issuers.authenticate(token(claims, **(header or {})), use))

    def assert_refused(self, claims: dict[str, Any], why: str, **changes: Any) -> None:
        with self.subTest(why), self.assertRaisesRegex(AuthenticationError, why):
            self.authenticate(claims, **changes)

    def lacks(self, **changes: Any) -> list[str]:
        """Name the keys that are wrong in settings."""
        return [problem.key for problem in problems(settings_of(self.kind, **changes))]


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


class EntraTests(CallerCase):
    """``type = "entra"``."""

    kind = "entra"

    def test_a_person(self) -> None:
        """By the ``oid``, which is the same in all applications, and with groups."""
        found = self.authenticate(entra_person())
        self.assertEqual(found.hop.id, f"corp|{ALICE}")
        self.assertEqual((found.hop.name, found.hop.kind), ("Alice Example", "person"))
        self.assertEqual(found.hop.groups, frozenset(entra_person()["groups"]))
        self.assertEqual(
            dict(found.hop.attributes), {"issuer": "corp", "tenant": TENANT, "client": CLI}
        )
        self.assertEqual(found.origin.persons, frozenset())

    def test_an_id_token(self) -> None:
        """Of `hoopgw login`: its audience is the client, its version always 2.0."""
        claims = entra_person(aud=CLI, azp=None, scp=None)
        found = self.authenticate(claims, TokenUse.ID)
        self.assertEqual((found.hop.id, found.hop.kind), (f"corp|{ALICE}", "person"))

    def test_a_managed_identity(self) -> None:
        """If it is named, or has a role of ours; as anybody in the tenant can have such a token."""
        self.assert_refused(entra_app(), "not allowed, and has no role here")
        found = self.authenticate(entra_app(), clients=[APP])
        self.assertEqual((found.hop.id, found.hop.kind), (f"corp|{APP_OID}", "workload"))
        self.assertIn("userAssignedIdentities", dict(found.origin.attributes)["xms_mirid"])
        self.assertEqual(found.client, APP)
        self.assert_refused(entra_app(roles=["Reader"]), "no role here", roles=["Migrate"])
        found = self.authenticate(entra_app(roles=["Migrate", "Read"]), roles=["Migrate"])
        self.assertEqual(dict(found.hop.attributes)["roles"], ("Migrate", "Read"))

    def test_our_own_public_client_is_no_application(self) -> None:
        """`hoopgw login`'s client has no secret, so an app-only token of it is not for people."""
        self.assert_refused(entra_app(azp=CLI), "not allowed")

    def test_an_application_is_known_without_idtyp(self) -> None:
        """It is an optional claim; only delegated tokens have scopes."""
        found = self.authenticate(entra_app(idtyp=None), clients=[APP])
        self.assertEqual(found.hop.kind, "workload")
        self.assert_refused(entra_app(idtyp="device"), "idtyp", clients=[APP])

    def test_groups_of_applications_do_not_count(self) -> None:
        """Roles do, where they are what the gateway takes for groups: our own registration's."""
        claims = entra_app(groups=["admins"], roles=["dba"])
        self.assertEqual(self.authenticate(claims, clients=[APP]).hop.groups, frozenset())
        found = self.authenticate(claims, clients=[APP], groups_claim="roles")
        self.assertEqual(found.hop.groups, frozenset({"dba"}))

    def test_an_agent_by_itself(self) -> None:
        """As Microsoft's example; the blueprint is recorded."""
        found = self.authenticate(entra_agent(), version="1.0", clients=[AGENT_APP])
        self.assertEqual((found.hop.id, found.hop.kind), (f"corp|{AGENT_OID}", "agent"))
        said = dict(found.hop.attributes)
        self.assertEqual((said["client"], said["blueprint"]), (AGENT_APP, BLUEPRINT))
        origin = dict(found.origin.attributes)
        self.assertEqual(origin["xms_par_app_azp"], BLUEPRINT)
        self.assertEqual(origin["xms_act_fct"], "3 9 11")
        self.assertEqual(found.origin.persons, frozenset())
        unknown = {"version": "1.0", "clients": [BLUEPRINT]}
        self.assert_refused(entra_agent(), "not allowed", **unknown)

    def test_an_agent_for_a_person(self) -> None:
        """It has that person's groups, is an agent to policy, and its user is behind it."""
        claims = entra_person(idtyp="user", azp=AGENT_APP, xms_act_fct="11 3")
        self.assert_refused(claims, "client")
        found = self.authenticate(claims, clients=[AGENT_APP])
        self.assertEqual((found.hop.id, found.hop.kind), (f"corp|{ALICE}", "agent"))
        self.assertEqual(found.origin.persons, frozenset({f"corp|{ALICE}"}))
        self.assertEqual(found.hop.groups, frozenset(claims["groups"]))

    def test_an_agents_own_user(self) -> None:
        """A user account without a person."""
        claims = entra_person(idtyp="user", azp=AGENT_APP, xms_act_fct="11", xms_sub_fct="13 1")
        found = self.authenticate(claims, clients=[AGENT_APP])
        self.assertEqual((found.hop.kind, found.origin.persons), ("agent", frozenset()))

    def test_facets_are_numbers_in_any_order(self) -> None:
        """111 is not 11."""
        found = self.authenticate(entra_person(xms_act_fct="111 3", xms_sub_fct="1 113"))
        self.assertEqual(found.hop.kind, "person")

    def test_versions(self) -> None:
        """A v1.0 token at a v2.0 issuer, and the other way round, are another's."""
        v1 = entra_person(iss=V1, ver="1.0", azp=None, appid=CLI)
        self.assertEqual(self.authenticate(v1, version="1.0").hop.id, f"corp|{ALICE}")
        self.assert_refused(v1, "not configured")
        self.assert_refused(entra_person(), "not configured", version="1.0")
        self.assert_refused(entra_person(ver="1.0"), "ver")
        self.assert_refused(entra_person(ver=None), "ver")
        self.assert_refused(entra_person(ver=2.0), "ver")

    def test_both_versions_under_one_alias(self) -> None:
        """The same person, whichever token; so one alias may be for both."""
        issuers = issuers_of(settings_of("entra"), settings_of("entra", version="1.0"))
        v1 = token(entra_person(iss=V1, ver="1.0", azp=None, appid=CLI))
        for text in (token(entra_person()), v1):
            found = run(issuers.authenticate(text, TokenUse.ACCESS))
            self.assertEqual(found.hop.id, f"corp|{ALICE}")

    def test_settings(self) -> None:
        """The tenant is an id: with "common" anybody's tenant would do."""
        self.assertEqual(self.lacks(), [])
        self.assertEqual(settings_of("entra").issuer, V2)
        self.assertEqual(settings_of("entra", version="1.0").issuer, V1)
        for wrong in ("", "common", "organizations", "example.com", TENANT.upper()):
            if wrong != TENANT:
                self.assertEqual(self.lacks(tenant=wrong), ["tenant"], wrong)
        self.assertEqual(self.lacks(audiences=["https://management.azure.com/"]), ["audiences"])

    def test_a_key_of_another_tenant(self) -> None:
        """Entra has one set of keys for many tenants, and says of each whose it is."""
        for owner, good in (
            (None, True),
            (V2, True),
            ("https://login.microsoftonline.com/{tenantid}/v2.0", True),
            ("https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0", False),
        ):
            keys = FixedKeys(one=PublicKey(rsa_key(), None, owner))
            issuers = issuers_of(settings_of("entra"), keys=keys)
            asking = issuers.authenticate(token(entra_person()), TokenUse.ACCESS)
            if good:
                self.assertEqual(run(asking).hop.id, f"corp|{ALICE}")
            else:
                with self.assertRaisesRegex(AuthenticationError, "another tenant"):
                    run(asking)


class AzureDevOpsTests(CallerCase):
    """``type = "azure-devops"``: app-only tokens of service connections."""

    kind = "azure-devops"

    def test_a_connection(self) -> None:
        """The identity of the service connection, and nobody else of the tenant."""
        found = self.authenticate(entra_app())
        self.assertEqual((found.hop.id, found.hop.kind), (f"ado|{APP_OID}", "workload"))
        self.assert_refused(entra_app(azp="other"), "not allowed")
        self.assert_refused(entra_person(azp=APP), "not a token of an application")
        self.assertEqual(self.lacks(clients=[]), ["clients"])
        self.assertEqual(self.lacks(client_id=CLI), ["client_id"])

    def test_beside_the_people_of_the_tenant(self) -> None:
        """One ``iss``, two tables: the application says which."""
        people, jobs = settings_of("entra"), settings_of("azure-devops")
        for both in ((people, jobs), (jobs, people)):
            issuers = issuers_of(*both)
            job = run(issuers.authenticate(token(entra_app()), TokenUse.ACCESS))
            person = run(issuers.authenticate(token(entra_person()), TokenUse.ACCESS))
            self.assertEqual((job.hop.id, person.hop.id), (f"ado|{APP_OID}", f"corp|{ALICE}"))
            stranger = token(entra_app(azp="stranger"))
            with self.assertRaisesRegex(AuthenticationError, "not allowed"):
                run(issuers.authenticate(stranger, TokenUse.ACCESS))


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
