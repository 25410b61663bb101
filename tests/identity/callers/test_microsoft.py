"""Entra ID and Azure DevOps, with the tokens that Microsoft documents."""

from __future__ import annotations

from hoopgw.errors import AuthenticationError
from hoopgw.identity.jose import PublicKey
from hoopgw.identity.oidc import TokenUse
from tests.identity.callers.caller_case import CallerCase
from tests.identity.callers.shapes import (
    AGENT_APP,
    AGENT_OID,
    ALICE,
    APP,
    APP_OID,
    BLUEPRINT,
    CLI,
    TENANT,
    V1,
    V2,
    FixedKeys,
    entra_agent,
    entra_app,
    entra_person,
    issuers_of,
    settings_of,
)
from tests.identity.forge import rsa_key, run, token


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
