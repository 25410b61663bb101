"""Tests for `hoopgw.identity.logins`: log-ins, and how they are refreshed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, field
from joserfc.jwk import OKPKey
from twisted.internet.defer import Deferred

from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.events import Hop
from hoopgw.identity.dpop import ProvedKey, check_proof, make_proof
from hoopgw.identity.issuers import Issuer, Issuers
from hoopgw.identity.jose import PublicKey
from hoopgw.identity.refusals import ExchangeError
from hoopgw.identity.token_parts import Lifetimes
from hoopgw.identity.tokens import GATEWAY
from hoopgw.identity.urns import ACCESS_TOKEN, GRANT, REFRESH_GRANT
from tests.identity.forge import NOW, claims, rsa_key, run, settings, token
from tests.identity.test_exchange import ORDERS, URL, ExchangeTestCase
from tests.identity.test_oidc import FixedKeys


@define(eq=False)
class Directory:
    """Implements `hoopgw.identity.token_parts.Regroup`."""

    answer: Callable[[], Awaitable[frozenset[str]]]
    asked: list[str] = field(factory=list)

    def can_ask(self, _root: Hop) -> bool:
        return True

    async def ask(self, root: Hop) -> frozenset[str]:
        self.asked.append(root.id)
        return await self.answer()


def saying(error: Exception) -> Directory:
    """Return one that answers with an error."""

    async def answer() -> frozenset[str]:
        raise error

    return Directory(answer)


class RefreshTestCase(ExchangeTestCase):
    """Tokens of 5 minutes, log-ins of an hour, groups that are good for half an hour."""

    def setUp(self) -> None:
        super().setUp()
        self.with_parts(lifetimes=Lifetimes(token=300.0, login=3600.0, groups=1800.0))
        self.key, self.other = (OKPKey.generate_key("Ed25519") for _ in range(2))

    def proof(self, key: OKPKey | None = None) -> ProvedKey:
        url = URL + "/sts/token"
        signed = make_proof(key or self.key, "POST", url, self.now)
        return check_proof(signed, "POST", url, self.now)

    def begin(self, **changes: Any) -> dict[str, Any]:
        """Log in with the key."""
        return self.ask(token(claims(exp=NOW + 86_000, **changes)), self.proof())

    def form(self, refresh: str) -> dict[str, str]:
        return {"grant_type": REFRESH_GRANT, "refresh_token": refresh}

    def refresh(self, refresh: str, proved: ProvedKey | None = None) -> dict[str, Any]:
        return run(self.exchange.exchange(self.form(refresh), proved or self.proof()))

    def refused(self, code: str, refresh: str, proved: ProvedKey | None = None) -> ExchangeError:
        """Refresh with no proof unless one is given."""
        error = self.assertRaises(
            ExchangeError, run, self.exchange.exchange(self.form(refresh), proved)
        )
        assert isinstance(error, ExchangeError)
        self.assertEqual(error.code, code)
        return error

    def session(self, given: dict[str, Any]) -> str:
        read = self.verifier.read(given["access_token"], GATEWAY, self.now)
        return read.principal.session


class RefreshTests(RefreshTestCase):
    """What a refresh gives."""

    def test_first(self) -> None:
        """A token for minutes; what it opens may last as long as its groups are good."""
        given = self.begin()
        self.assertEqual(given["expires_in"], 300)
        self.assertEqual(given["session_expires_in"], 1800)
        self.assertEqual(given["refresh_expires_in"], 1800)
        (row,) = self.kept.rows.values()
        self.assertEqual((row.thumbprint, row.expires), (self.key.thumbprint(), NOW + 3600))
        self.assertNotIn(given["refresh_token"], str(row))

    def test_next(self) -> None:
        """The log-in stays the same one; the token and the refresh token are others."""
        first = self.begin()
        self.now += 250
        second = self.refresh(first["refresh_token"])
        self.assertEqual(self.session(second), self.session(first))
        self.assertEqual(second["expires_in"], 300)
        self.assertEqual(second["refresh_expires_in"], 1550)
        self.assertNotEqual(second["refresh_token"], first["refresh_token"])
        self.now += 250
        bound = self.refresh(second["refresh_token"])["access_token"]
        self.assert_refused("invalid_grant", bound, audience=ORDERS)
        self.ask(bound, self.proof(), audience=ORDERS)

    def test_without_a_key(self) -> None:
        """A log-in that is bound to none is not refreshed."""
        self.assertNotIn("refresh_token", self.ask(token()))
        self.assertEqual(self.kept.rows, {})

    def test_too_many_logins(self) -> None:
        """The log-in is given, but must be begun anew when its token ends."""
        self.kept.limit = 0
        self.assertNotIn("refresh_token", self.begin())

    def test_the_issuers_token_bounds_the_login(self) -> None:
        """What is refreshed never outlives the access token that the log-in was given for."""
        given = self.ask(token(claims(exp=NOW + 400)), self.proof())
        self.assertEqual(given["refresh_expires_in"], 400)
        self.now += 200
        self.assertEqual(self.refresh(given["refresh_token"])["expires_in"], 200)

    def test_the_end(self) -> None:
        """After its whole length a log-in is over."""
        self.with_parts(lifetimes=Lifetimes(token=300.0, login=3600.0, groups=7200.0))
        given = self.begin()
        self.now += 3599.5
        error = self.refused("invalid_grant", given["refresh_token"], self.proof())
        self.assertIn("log in again", error.text)
        self.assertEqual(self.revoked.sessions, set())

    def test_revoked(self) -> None:
        given = self.begin()
        self.revoked.sessions.add(self.session(given))
        self.refused("invalid_grant", given["refresh_token"], self.proof())

    def test_form(self) -> None:
        """Nothing that is asked besides is ignored."""
        given = self.begin()
        for more in ({"scope": "x"}, {"audience": ORDERS}, {"subject_token": "x"}):
            form = self.form(given["refresh_token"]) | more
            error = self.assertRaises(
                ExchangeError, run, self.exchange.exchange(form, self.proof())
            )
            self.assertEqual(error.code, "invalid_request")
        self.refused("invalid_request", "", self.proof())
        self.refresh(given["refresh_token"])


class ReuseTests(RefreshTestCase):
    """A refresh token is good once, for the holder of the key."""

    def test_replayed(self) -> None:
        """Who holds the key and shows it again ends the log-in for both."""
        first = self.begin()
        second = self.refresh(first["refresh_token"])
        error = self.refused("invalid_grant", first["refresh_token"], self.proof())
        self.assertIn("revoked", error.text)
        self.assertEqual(self.revoked.sessions, {self.session(first)})
        self.refused("invalid_grant", second["refresh_token"], self.proof())
        self.assert_refused("invalid_grant", second["access_token"], self.proof(), audience=ORDERS)

    def test_stolen_without_the_key(self) -> None:
        """It is good for nothing, and the log-in goes on: nobody can end it so."""
        given = self.begin()
        self.refused("invalid_grant", given["refresh_token"])
        self.refused("invalid_grant", given["refresh_token"], self.proof(self.other))
        second = self.refresh(given["refresh_token"])
        self.refused("invalid_grant", given["refresh_token"], self.proof(self.other))
        self.assertEqual(self.revoked.sessions, set())
        self.refresh(second["refresh_token"])

    def test_garbage(self) -> None:
        """Nothing but a good one is taken; what is no refresh token revokes nothing."""
        given = self.begin()
        login = self.session(given)
        for bad in ("x", "hgr1", "hgr1..", f"hgr1.{login}.", "hgr1.other.secret", "\udc80" * 9):
            self.refused("invalid_grant", bad, self.proof())
        self.refused("invalid_grant", given["refresh_token"] + "x" * 300, self.proof())
        self.refused("invalid_grant", given["access_token"], self.proof())
        self.assertEqual(self.revoked.sessions, set())

    def test_a_proof_is_good_once(self) -> None:
        first, proof = self.begin(), self.proof()
        second = self.refresh(first["refresh_token"], proof)
        self.refused("invalid_dpop_proof", second["refresh_token"], proof)
        self.refresh(second["refresh_token"])

    def test_as_a_subject(self) -> None:
        """It is no token that can be exchanged."""
        given = self.begin()
        self.assert_refused("invalid_grant", given["refresh_token"], self.proof(), audience=ORDERS)

    def test_race(self) -> None:
        """Of two at once, one gets an answer, and the log-in is revoked."""
        waiting: list[Deferred[frozenset[str]]] = []

        async def slowly() -> frozenset[str]:
            waiting.append(Deferred())
            return await waiting[-1]

        self.with_parts(regroup=Directory(slowly))
        given = self.begin()
        form = self.form(given["refresh_token"])
        both = [
            Deferred.fromCoroutine(self.exchange.exchange(form, self.proof())) for _ in range(2)
        ]
        for each in waiting:
            each.callback(frozenset())
        self.successResultOf(both[0])
        self.failureResultOf(both[1], ExchangeError)
        self.assertEqual(self.revoked.sessions, {self.session(given)})


class GroupTests(RefreshTestCase):
    """Groups, and how old they may be."""

    def groups(self, given: dict[str, Any]) -> frozenset[str]:
        return self.verifier.read(given["access_token"], GATEWAY, self.now).principal.root.groups

    def test_too_old(self) -> None:
        """An issuer that cannot be asked again: then the person must log in again."""
        given = self.begin()
        self.now += 1700
        given = self.refresh(given["refresh_token"])
        self.assertEqual((given["expires_in"], given["session_expires_in"]), (100, 100))
        self.now += 100
        error = self.refused("invalid_grant", given["refresh_token"], self.proof())
        self.assertIn("too old", error.text)

    def test_an_issuer_without_groups(self) -> None:
        """What was never said is never too old."""
        ruled = settings(groups_claim="")
        keys = FixedKeys({"one": PublicKey(rsa_key())})
        self.with_parts(issuers=Issuers.of([Issuer(ruled, keys)], lambda: self.now))
        given = self.begin()
        self.assertEqual(given["session_expires_in"], 3600)

    def test_asked_again(self) -> None:
        """They are as the issuer says now, and their age begins anew."""

        async def answer() -> frozenset[str]:
            return frozenset({"staff"})

        directory, told = Directory(answer), list[Any]()
        self.with_parts(
            regroup=directory, regrouped=lambda login, groups: told.append((login, groups))
        )
        given = self.begin()
        self.assertEqual(self.groups(given), {"dba", "staff"})
        self.now += 1700
        given = self.refresh(given["refresh_token"])
        self.assertEqual((directory.asked, self.groups(given)), (["corp|alice-1"], {"staff"}))
        self.assertEqual(given["session_expires_in"], 1800)
        self.assertEqual(given["refresh_expires_in"], 1900)
        self.assertEqual(told, [(self.session(given), {"staff"})])
        self.refresh(given["refresh_token"])
        self.assertEqual(len(told), 1)

    def test_out_of_reach(self) -> None:
        """The groups stay as they were while they are not too old."""
        self.with_parts(regroup=saying(UnavailableError("no answer")))
        given = self.begin()
        self.now += 1700
        given = self.refresh(given["refresh_token"])
        self.assertEqual((given["expires_in"], self.groups(given)), (100, {"dba", "staff"}))

    def test_gone(self) -> None:
        """A principal whom the issuer does not know any more is logged out."""
        self.with_parts(regroup=saying(AuthenticationError("disabled")))
        given = self.begin()
        self.refused("invalid_grant", given["refresh_token"], self.proof())
        self.assertEqual(self.revoked.sessions, {self.session(given)})


class StoreTests(RefreshTestCase):
    """A store that cannot be used."""

    def test_unreachable(self) -> None:
        """Nothing is given that could not be refreshed or taken back."""

        class Broken:
            def find(self, _login: str) -> Any:
                raise UnavailableError("the disk is full at /var/lib")

            keep = find

        given = self.begin()
        self.with_parts(logins=Broken())
        error = self.refused("temporarily_unavailable", given["refresh_token"], self.proof())
        self.assertNotIn("disk", error.text)
        form = {"grant_type": GRANT, "subject_token": token(), "subject_token_type": ACCESS_TOKEN}
        again = self.assertRaises(ExchangeError, run, self.exchange.exchange(form, self.proof()))
        self.assertEqual(again.code, "temporarily_unavailable")
