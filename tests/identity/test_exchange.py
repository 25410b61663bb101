"""Tests for `hoopgw.identity.exchange`."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from joserfc.jwk import OKPKey
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import UnavailableError
from hoopgw.events import Principal
from hoopgw.identity.dpop import ProvedKey, check_proof, make_proof
from hoopgw.identity.exchange import Exchange
from hoopgw.identity.hops import public_jwk
from hoopgw.identity.issuers import Issuer, Issuers
from hoopgw.identity.jose import PublicKey, parse
from hoopgw.identity.passwords import split_user
from hoopgw.identity.refusals import ExchangeError
from hoopgw.identity.token_parts import Lifetimes, TokenParts
from hoopgw.identity.tokens import GATEWAY, TokenSigner, TokenVerifier, target_audience
from hoopgw.identity.urns import ACCESS_TOKEN, GRANT, ID_TOKEN, JWT, SESSION_PASSWORD
from tests.identity.forge import CLIENT, NOW, claims, rsa_key, run, settings, token
from tests.identity.memory import KeptLogins, Passwords, Used
from tests.identity.test_oidc import FixedKeys

URL = "https://gw.example:8443"
ORDERS = target_audience("orders")


class Revoked:
    """Sessions that were ended."""

    def __init__(self) -> None:
        self.sessions: set[str] = set()
        self.why: list[str] = []

    def __call__(self, principal: Principal) -> bool:
        return not self.sessions.isdisjoint(principal.lineage)

    def end(self, node: str, reason: str, _by: Principal | None = None, /) -> None:
        self.sessions.add(node)
        self.why.append(reason)


class ExchangeTestCase(SynchronousTestCase):
    """A token endpoint with one issuer and the target ``orders``, account ``reader``."""

    def setUp(self) -> None:
        self.now = NOW
        self.signer = TokenSigner(OKPKey.generate_key("Ed25519"), URL)
        self.verifier = TokenVerifier(self.signer.jwks, URL)
        self.passwords, self.used, self.revoked = Passwords(), Used(), Revoked()
        self.kept = KeptLogins()
        self.exchange = Exchange(
            TokenParts(
                issuers=Issuers.of(
                    [Issuer(settings(), FixedKeys({"one": PublicKey(rsa_key())}))],
                    lambda: self.now,
                ),
                signer=self.signer,
                verifier=self.verifier,
                passwords=self.passwords,
                used=self.used,
                logins=self.kept,
                is_target=lambda target, account: (
                    target == "orders" and account in (None, "reader")
                ),
                is_revoked=self.revoked,
                revoke=self.revoked.end,
                end_token=lambda token: self.revoked.end(token.node, "a token"),
                is_ended_token=lambda token: token.node in self.revoked.sessions,
                now=lambda: self.now,
                lifetimes=Lifetimes(token=3600.0, login=3600.0, groups=7200.0),
            )
        )

    def with_parts(self, **changes: Any) -> None:
        """Ask another endpoint from now on, that differs in some of its parts."""
        self.exchange = Exchange(evolve(self.exchange.parts, **changes))

    def ask(self, subject: str, proved: ProvedKey | None = None, **changes: Any) -> dict[str, Any]:
        form: dict[str, Any] = {
            "grant_type": GRANT,
            "subject_token": subject,
            "subject_token_type": ACCESS_TOKEN,
        }
        given = {name: value for name, value in (form | changes).items() if value is not None}
        return run(self.exchange.exchange(given, proved))

    def log_in(self) -> str:
        found: str = self.ask(token())["access_token"]
        return found

    def assert_refused(
        self,
        code: str,
        subject: str,
        proved: ProvedKey | None = None,
        **changes: Any,
    ) -> ExchangeError:
        with self.assertRaises(ExchangeError) as caught:
            self.ask(subject, proved, **changes)
        error: ExchangeError = caught.exception
        self.assertEqual(error.code, code)
        return error


class LogInTests(ExchangeTestCase):
    """An issuer's token for a gateway token."""

    def test_access_token(self) -> None:
        """A session begins; it ends with the issuer's token if that is sooner."""
        given = self.ask(token())
        self.assertEqual(given["token_type"], "Bearer")
        self.assertEqual(given["issued_token_type"], ACCESS_TOKEN)
        self.assertEqual(given["expires_in"], 600)
        principal = self.verifier.verify(given["access_token"], GATEWAY, NOW)
        self.assertEqual(principal.root.id, "corp|alice-1")
        self.assertEqual(principal.root.groups, frozenset({"dba", "staff"}))
        self.assertEqual(principal.expires, NOW + 600)
        self.assertGreaterEqual(len(principal.session), 22)

    def test_configured_lifetime(self) -> None:
        """No log-in lasts longer than the configuration says."""
        given = self.ask(token(claims(exp=NOW + 7200)))
        self.assertEqual(given["expires_in"], 3600)

    def test_lifetime_of_an_issuers_sessions(self) -> None:
        """A CI job may run longer than its token, if the operator says so; not beyond ours."""
        for lifetime, expected in ((1800.0, 1800), (7200.0, 3600), (60.0, 60)):
            ruled = settings(session_lifetime=lifetime)
            keys = FixedKeys({"one": PublicKey(rsa_key())})
            issuers = Issuers.of([Issuer(ruled, keys)], lambda: NOW)
            self.with_parts(issuers=issuers)
            self.assertEqual(self.ask(token())["expires_in"], expected)

    def test_each_log_in_is_a_session(self) -> None:
        """An access token may be used again: CI jobs have one for many steps."""
        sessions = {self.verifier.verify(self.log_in(), GATEWAY, NOW).session for _ in range(3)}
        self.assertEqual(len(sessions), 3)

    def test_id_token(self) -> None:
        """It is taken once; its ``exp`` does not bound the session."""
        good = token(claims(aud=CLIENT, azp=None, nonce="n", exp=NOW + 60))
        asked: dict[str, Any] = {"subject_token_type": ID_TOKEN, "nonce": "n"}
        self.assert_refused("invalid_grant", good, **(asked | {"nonce": "other"}))
        self.assertEqual(self.ask(good, **asked)["expires_in"], 3600)
        self.assert_refused("invalid_grant", good, **asked)
        head, body, _ = good.split(".")
        self.assertEqual(len(self.used.seen), 1)
        self.assert_refused("invalid_grant", f"{head}.{body}.AAAA", **asked)

    def test_type_decides(self) -> None:
        """An access token shown as ID token, or the other way round, is refused."""
        self.assert_refused("invalid_grant", token(), subject_token_type=ID_TOKEN)
        self.assert_refused("invalid_grant", token(claims(aud=CLIENT, nonce="n")))
        self.ask(token(), subject_token_type=JWT)

    def test_only_the_gateway_is_given(self) -> None:
        """No way leads from an issuer's token to a target at once: there is no session yet."""
        self.ask(token(), audience=GATEWAY)
        self.assert_refused("invalid_target", token(), audience=ORDERS)
        self.assert_refused(
            "invalid_target", token(), requested_token_type=SESSION_PASSWORD, account="reader"
        )

    def test_end_of_the_issuers_token(self) -> None:
        """Leeway lets a token in that has just expired, but no session comes out of it."""
        just = token(claims(iat=NOW - 600, exp=NOW - 5))
        self.assert_refused("invalid_grant", just)

    def test_nothing_is_told(self) -> None:
        """The caller learns that its token is not good, and no more."""
        for bad in ("garbage", token(claims(iss="https://evil.example")), token(kid="x")):
            error = self.assert_refused("invalid_grant", bad)
            self.assertEqual(error.text, "the token is not good")

    def test_issuer_out_of_reach(self) -> None:
        """That is not the token's fault, and says so."""

        class NoKeys:
            async def find(self, _kid: str) -> PublicKey:
                raise UnavailableError("no answer from https://idp.example/internal")

        issuers = Issuers.of([Issuer(settings(), NoKeys())], lambda: NOW)
        self.with_parts(issuers=issuers)
        error = self.assert_refused("temporarily_unavailable", token())
        self.assertNotIn("internal", error.text)


class NarrowTests(ExchangeTestCase):
    """A gateway token for something for one target."""

    def test_target_token(self) -> None:
        """It lives 5 minutes, keeps the session, and is good for nothing else."""
        subject = self.log_in()
        given = self.ask(subject, audience=ORDERS)
        self.assertEqual(given["expires_in"], 300)
        narrow = self.verifier.verify(given["access_token"], ORDERS, NOW)
        self.assertEqual(narrow, self.verifier.verify(subject, GATEWAY, NOW))
        self.assert_refused("invalid_grant", given["access_token"], audience=ORDERS)

    def test_never_beyond_the_parent(self) -> None:
        """Neither the token nor the session that it opens outlives the log-in."""
        subject = self.log_in()
        self.now = NOW + 500
        given = self.ask(subject, audience=ORDERS)
        self.assertEqual(given["expires_in"], 100)
        narrow = self.verifier.verify(given["access_token"], ORDERS, self.now)
        self.assertEqual(narrow.expires, NOW + 600)
        self.now = NOW + 600
        self.assert_refused("invalid_grant", subject, audience=ORDERS)

    def test_session_password(self) -> None:
        """It logs in to one account on one target until the log-in ends."""
        given = self.ask(
            self.log_in(), audience=ORDERS, requested_token_type=SESSION_PASSWORD, account="reader"
        )
        self.assertEqual(split_user(given["user"]), ("reader", given["handle"]))
        self.assertEqual(given["token_type"], "N_A")
        stored, expires = self.passwords.kept[given["handle"]]
        self.assertEqual((stored.target, stored.account), ("orders", "reader"))
        self.assertEqual((expires, given["expires"]), (NOW + 600, NOW + 600))
        self.assertEqual(stored.principal.root.id, "corp|alice-1")
        self.assertNotIn(given["password"], str(self.passwords.kept))

    def test_several_targets(self) -> None:
        """One token for all; each must be there, and a password is for one."""
        self.with_parts(is_target=lambda target, _account: target in ("orders", "ledger"))
        subject, both = self.log_in(), f"{ORDERS} hoopgw:target:ledger"
        given = self.ask(subject, audience=both, account="reader")["access_token"]
        for audience in both.split(" "):
            read = self.verifier.read(given, audience, NOW)
            self.assertEqual(read.account, "reader")
        for bad in (f"{ORDERS} other", f"{ORDERS}  {ORDERS}", f"{ORDERS} {GATEWAY}", f" {ORDERS}"):
            with self.subTest(bad=bad):
                self.assert_refused("invalid_target", subject, audience=bad)
        many = " ".join([ORDERS] * 51)
        self.assert_refused("invalid_target", subject, audience=many)
        asked: dict[str, Any] = {"requested_token_type": SESSION_PASSWORD, "account": "reader"}
        self.assert_refused("invalid_target", subject, audience=both, **asked)

    def test_taken_handle(self) -> None:
        """Another is tried, but not for ever."""
        asked: dict[str, Any] = {
            "audience": ORDERS,
            "requested_token_type": SESSION_PASSWORD,
            "account": "reader",
        }
        self.passwords.refuse = 2
        self.ask(self.log_in(), **asked)
        self.passwords.refuse = 3
        self.assert_refused("temporarily_unavailable", self.log_in(), **asked)

    def test_what_is_not_there(self) -> None:
        """Unknown targets and accounts are told alike."""
        subject = self.log_in()
        for audience in ("hoopgw:target:other", "orders", GATEWAY, "hoopgw:target:", None):
            self.assert_refused("invalid_target", subject, audience=audience)
        self.assert_refused("invalid_target", subject, audience=ORDERS, account="root")
        self.assert_refused(
            "invalid_request", subject, audience=ORDERS, requested_token_type=SESSION_PASSWORD
        )
        self.assert_refused(
            "invalid_request", subject, audience=ORDERS, requested_token_type=ID_TOKEN
        )

    def test_revoked(self) -> None:
        """A session that was ended gets nothing more."""
        subject = self.log_in()
        self.revoked.sessions.add(self.verifier.verify(subject, GATEWAY, NOW).session)
        self.assert_refused("invalid_grant", subject, audience=ORDERS)

    def test_store_out_of_reach(self) -> None:
        """What cannot be kept is not given."""

        class Broken(Passwords):
            def put(self, *_: Any) -> bool:
                raise UnavailableError("the disk is full at /var/lib")

        self.with_parts(passwords=Broken())
        error = self.assert_refused(
            "temporarily_unavailable",
            self.log_in(),
            audience=ORDERS,
            requested_token_type=SESSION_PASSWORD,
            account="reader",
        )
        self.assertNotIn("disk", error.text)


class RequestTests(ExchangeTestCase):
    """The form itself."""

    def test_form(self) -> None:
        """What is missing, and what is not supported, is refused and not ignored."""
        self.assert_refused("unsupported_grant_type", token(), grant_type="password")
        self.assert_refused("unsupported_grant_type", token(), grant_type=None)
        self.assert_refused("invalid_request", token(), subject_token_type="x")
        self.assert_refused("invalid_request", token(), subject_token_type=None)
        self.assert_refused("invalid_request", "")
        for name in ("scope", "resource"):
            self.assert_refused("invalid_request", token(), None, **{name: "x"})
        for name in ("actor_token", "name", "caps"):
            self.assert_refused("invalid_target", token(), None, **{name: "x"})


class ProofTests(ExchangeTestCase):
    """Tokens bound to a key."""

    def proof(self, key: OKPKey) -> ProvedKey:
        url = URL + "/sts/token"
        return check_proof(make_proof(key, "POST", url, self.now), "POST", url, self.now)

    def test_bound(self) -> None:
        """Who proves a key gets a token that only the key's holder can exchange."""
        key = OKPKey.generate_key("Ed25519")
        given = self.ask(token(), self.proof(key))
        self.assertEqual(given["token_type"], "DPoP")
        bound = given["access_token"]
        self.assertEqual(
            parse(bound).claims["cnf"], {"jkt": key.thumbprint(), "jwk": public_jwk(key)}
        )
        self.assert_refused("invalid_grant", bound, audience=ORDERS)
        other = OKPKey.generate_key("Ed25519")
        self.assert_refused("invalid_grant", bound, self.proof(other), audience=ORDERS)
        narrow = self.ask(bound, self.proof(key), audience=ORDERS)
        self.assertEqual(narrow["token_type"], "Bearer")
        self.verifier.verify(narrow["access_token"], ORDERS, NOW)

    def test_a_name_like_a_childs(self) -> None:
        """``corp|alice~planner`` is what a child of Alice is called: no log-in is."""
        self.assert_refused("invalid_grant", token(claims(sub="alice~planner")))

    def test_once(self) -> None:
        """A proof is good for one request."""
        proof = self.proof(OKPKey.generate_key("Ed25519"))
        self.ask(token(), proof)
        self.assert_refused("invalid_dpop_proof", token(), proof)
        subject = self.log_in()
        other = self.proof(OKPKey.generate_key("Ed25519"))
        self.ask(subject, other, audience=ORDERS)
        self.assert_refused("invalid_dpop_proof", subject, other, audience=ORDERS)

    def test_strangers_leave_no_trace(self) -> None:
        """A proof is kept only if it came with a good token."""
        key = OKPKey.generate_key("Ed25519")
        for bad in ("garbage", token(claims(aud="other")), token(kid="x")):
            self.assert_refused("invalid_grant", bad, self.proof(key))
        self.assertEqual(self.used.seen, {})

    def test_issuers_token_bound_to_a_key(self) -> None:
        """``cnf`` of the issuer is honoured: without the key, or of another kind, it is refused."""
        key = OKPKey.generate_key("Ed25519")
        bound = token(claims(cnf={"jkt": key.thumbprint()}))
        self.assert_refused("invalid_grant", bound)
        self.assert_refused("invalid_grant", bound, self.proof(OKPKey.generate_key("Ed25519")))
        self.ask(bound, self.proof(key))
        self.assert_refused("invalid_grant", token(claims(cnf={"x5t#S256": "x"})), self.proof(key))
        self.assert_refused("invalid_grant", token(claims(cnf={})))
