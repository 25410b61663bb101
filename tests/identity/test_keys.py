"""Tests for `hoopgw.identity.keys`: time is a clock, and answers are given by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.identity.jose import PublicKey
from hoopgw.identity.keys import DEADLINE, DOCUMENT_LIMIT, FRESH, PAUSE, STALE, IssuerKeys
from tests.identity.forge import ISSUER, NOW, key_set, public_jwk, rsa_key, settings

KEYS_URL = ISSUER + "/keys"
DISCOVERY_URL = ISSUER + "/.well-known/openid-configuration"


class FakeFetch:
    """Answers from a table; what is not in it is waited for."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | Exception | None] = {}
        self.asked: list[str] = []
        self.waiting: list[Deferred[bytes]] = []

    def __call__(self, url: str, /) -> Deferred[bytes]:
        self.asked.append(url)
        answer: Deferred[bytes] = Deferred()
        match self.answers.get(url):
            case bytes() as body:
                answer.callback(body)
            case Exception() as error:
                answer.errback(error)
            case _:
                self.waiting.append(answer)
        return answer

    def publish(self, *kids: str) -> None:
        """Serve a set with keys of these names."""
        self.answers[KEYS_URL] = key_set(*(public_jwk(rsa_key(kid), kid) for kid in kids))

    def describe(self, **changes: Any) -> None:
        """Serve a discovery document."""
        document = {"issuer": ISSUER, "jwks_uri": KEYS_URL} | changes
        self.answers[DISCOVERY_URL] = json.dumps(document).encode()


class KeysTestCase(SynchronousTestCase):
    """The keys of an issuer that has ``one``."""

    def setUp(self) -> None:
        self.clock, self.fetch = Clock(), FakeFetch()
        self.clock.rightNow = NOW
        self.fetch.describe()
        self.fetch.publish("one")
        self.keys = IssuerKeys(settings(), self.fetch, self.clock)

    def find(self, kid: str) -> Deferred[PublicKey]:
        return Deferred.fromCoroutine(self.keys.find(kid))

    def assert_found(self, kid: str) -> None:
        found = self.successResultOf(self.find(kid))
        self.assertEqual(
            found.key.as_dict(private=False)["n"], rsa_key(kid).as_dict(private=False)["n"]
        )

    def assert_unknown(self, kid: str) -> None:
        self.failureResultOf(self.find(kid), AuthenticationError)

    def assert_unavailable(self, kid: str = "one") -> None:
        self.failureResultOf(self.find(kid), UnavailableError)


class CacheTests(KeysTestCase):
    """What is fetched, and when."""

    def test_first(self) -> None:
        """The first key needs discovery and the set; the second neither."""
        self.assert_found("one")
        self.assert_found("one")
        self.assertEqual(self.fetch.asked, [DISCOVERY_URL, KEYS_URL])

    def test_nothing_is_fetched_before_it_is_needed(self) -> None:
        """Making the cache asks nobody."""
        self.assertEqual(self.fetch.asked, [])

    def test_one_fetch_in_flight(self) -> None:
        """Whoever needs a key meanwhile waits for the fetch under way."""
        self.fetch.answers[KEYS_URL] = None
        found = [self.find("one") for _ in range(50)]
        self.assertEqual(self.fetch.asked, [DISCOVERY_URL, KEYS_URL])
        self.fetch.waiting[0].callback(key_set(public_jwk(rsa_key("one"), "one")))
        for one in found:
            self.assertIsInstance(self.successResultOf(one), PublicKey)

    def test_unknown_keys_do_not_cause_a_storm(self) -> None:
        """200 unknown names lead to no further fetch within the pause, and to one after it."""
        self.assert_found("one")
        for number in range(200):
            self.assert_unknown(f"no-{number}")
        self.assertEqual(len(self.fetch.asked), 2)
        self.clock.advance(PAUSE)
        for number in range(200):
            self.assert_unknown(f"no-{number}")
        self.assertEqual(self.fetch.asked[2:], [KEYS_URL])

    def test_rotation(self) -> None:
        """A new key is found when a token names it; the old one stays good while published."""
        self.assert_found("one")
        self.fetch.publish("one", "two")
        self.clock.advance(PAUSE)
        self.assert_found("two")
        self.assert_found("one")
        self.assertEqual(self.fetch.asked[2:], [KEYS_URL])

    def test_retired(self) -> None:
        """A key that is no longer published is good until the next refresh."""
        self.assert_found("one")
        self.fetch.publish("two")
        self.clock.advance(FRESH - 1)
        self.assert_found("one")
        self.clock.advance(1)
        self.assert_unknown("one")

    def test_refresh(self) -> None:
        """A key is used for its time, and then the set is fetched again."""
        self.assert_found("one")
        self.clock.advance(FRESH - 1)
        self.assert_found("one")
        self.assertEqual(len(self.fetch.asked), 2)
        self.clock.advance(1)
        self.assert_found("one")
        self.assertEqual(self.fetch.asked[2:], [KEYS_URL])

    def test_clock_set_back(self) -> None:
        """Then nobody knows how old the keys are: they are fetched again, and used."""
        self.assert_found("one")
        self.clock.rightNow -= 7200
        self.fetch.publish("one", "two")
        self.assert_found("one")
        self.assert_found("two")
        self.assertEqual(self.fetch.asked[2:], [KEYS_URL])


class FailureTests(KeysTestCase):
    """When the issuer is broken."""

    def test_a_good_set_is_never_replaced(self) -> None:
        """Not by an error, an empty set, garbage, or one that is too long."""
        self.assert_found("one")
        good = public_jwk(rsa_key("two"), "two")
        bad: list[bytes | Exception] = [
            UnavailableError("it answered 500"),
            key_set(),
            b"{",
            b"<html>",
            key_set({**good, "use": "enc"}),
            key_set(*({**good, "kid": str(n)} for n in range(65))),
        ]
        for answer in bad:
            self.fetch.answers[KEYS_URL] = answer
            before = len(self.fetch.asked)
            self.clock.advance(FRESH)
            self.assert_found("one")
            self.assertGreater(len(self.fetch.asked), before)

    def test_failing_refreshes_keep_their_distance(self) -> None:
        """A broken issuer is asked once in the pause, and tokens go on meanwhile."""
        self.assert_found("one")
        self.fetch.answers[KEYS_URL] = UnavailableError("it answered 500")
        self.clock.advance(FRESH)
        for _ in range(100):
            self.assert_found("one")
        self.assertEqual(self.fetch.asked[2:], [KEYS_URL])
        self.clock.advance(PAUSE)
        self.assert_found("one")
        self.assertEqual(self.fetch.asked[3:], [DISCOVERY_URL, KEYS_URL])

    def test_stale(self) -> None:
        """After a day of failures the keys are not used any more; one answer mends it."""
        self.assert_found("one")
        self.fetch.answers[DISCOVERY_URL] = UnavailableError("gone")
        self.fetch.answers[KEYS_URL] = UnavailableError("gone")
        self.clock.advance(STALE - 1)
        self.assert_found("one")
        self.clock.advance(PAUSE)
        self.assert_unavailable()
        self.fetch.describe()
        self.fetch.publish("one")
        self.clock.advance(PAUSE)
        self.assert_found("one")

    def test_never_reached(self) -> None:
        """Without any keys the answer is that they cannot be had, not that the token is bad."""
        self.fetch.answers[DISCOVERY_URL] = UnavailableError("refused")
        self.assert_unavailable()
        self.assert_unavailable()
        self.assertEqual(self.fetch.asked, [DISCOVERY_URL])

    def test_silence(self) -> None:
        """A document that does not come is given up, and no timer is left."""
        self.fetch.answers[DISCOVERY_URL] = None
        waiting = self.find("one")
        self.clock.advance(DEADLINE - 0.1)
        self.assertNoResult(waiting)
        self.clock.advance(0.1)
        self.failureResultOf(waiting, UnavailableError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_bug_is_reported(self) -> None:
        """What is no fault of the issuer is logged with its traceback, and refuses all the same."""
        self.fetch.answers[DISCOVERY_URL] = RuntimeError("bug")
        self.assert_unavailable()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class CancellationTests(KeysTestCase):
    """When a caller goes away."""

    def test_one_waiter_leaves(self) -> None:
        """The fetch goes on for the others."""
        self.fetch.answers[KEYS_URL] = None
        gone, stays = self.find("one"), self.find("one")
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.assertNoResult(stays)
        self.fetch.waiting[0].callback(key_set(public_jwk(rsa_key("one"), "one")))
        self.assertIsInstance(self.successResultOf(stays), PublicKey)

    def test_a_waiter_that_takes_another_along(self) -> None:
        """A cancellation from within an answer is harmless."""
        self.fetch.answers[KEYS_URL] = None
        first, second = self.find("one"), self.find("one")
        first.addCallback(lambda _key: second.cancel())
        self.fetch.waiting[0].callback(key_set(public_jwk(rsa_key("one"), "one")))
        self.successResultOf(first)
        self.failureResultOf(second, CancelledError)

    def test_stop(self) -> None:
        """Stopping ends the fetch; who waits is refused."""
        self.fetch.answers[KEYS_URL] = None
        waiting = self.find("one")
        self.keys.stop()
        self.failureResultOf(waiting, UnavailableError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.keys.stop()


class DiscoveryTests(KeysTestCase):
    """What the discovery document may say."""

    def assert_distrusted(self, **changes: Any) -> None:
        self.fetch.describe(**changes)
        self.assert_unavailable()
        self.clock.advance(PAUSE)
        self.assertNotIn(KEYS_URL, self.fetch.asked)

    def test_another_issuer(self) -> None:
        """It must be exactly the configured one."""
        self.assert_distrusted(issuer="https://evil.example")
        self.assert_distrusted(issuer=ISSUER + "/")
        self.assert_distrusted(issuer=None)

    def test_where_keys_may_be(self) -> None:
        """Over https only, at a URL."""
        for url in ("http://idp.example/keys", "file:///etc/passwd", 5, None, "http://127.0.0.1/k"):
            self.assert_distrusted(jwks_uri=url)
        self.assertEqual(set(self.fetch.asked), {DISCOVERY_URL})

    def test_slash(self) -> None:
        """An issuer that ends in a slash has its document where one without has."""
        issuer = ISSUER + "/"
        keys = IssuerKeys(settings(issuer=issuer), self.fetch, self.clock)
        self.fetch.describe(issuer=issuer)
        self.successResultOf(Deferred.fromCoroutine(keys.find("one")))
        self.assertEqual(self.fetch.asked, [DISCOVERY_URL, KEYS_URL])


class ConfiguredTests(KeysTestCase):
    """Issuers without discovery."""

    def test_a_url(self) -> None:
        """It is asked at once, and again when it is time."""
        elsewhere = "https://kube.example/openid/v1/jwks"
        self.fetch.answers[elsewhere] = key_set(public_jwk(rsa_key("one"), "one"))
        self.keys = IssuerKeys(settings(jwks_url=elsewhere), self.fetch, self.clock)
        self.assert_found("one")
        self.clock.advance(FRESH)
        self.fetch.answers[elsewhere] = UnavailableError("gone")
        self.assert_found("one")
        self.clock.advance(FRESH)
        self.assert_found("one")
        self.assertEqual(self.fetch.asked, [elsewhere] * 3)

    def test_a_file(self) -> None:
        """It is read as it is now; one that broke or went away takes nothing back for a day."""
        file = Path(self.mktemp())
        file.write_bytes(key_set(public_jwk(rsa_key("one"), "one")))
        self.keys = IssuerKeys(settings(jwks_file=file), self.fetch, self.clock)
        self.assert_found("one")
        two = key_set(public_jwk(rsa_key("two"), "two"))
        for content in (b"", b"{}", b'{"keys": []}', b" " * (DOCUMENT_LIMIT + 1), None):
            if content is None:
                file.unlink()
            else:
                file.write_bytes(content)
            self.clock.advance(FRESH)
            self.assert_found("one")
        file.write_bytes(two)
        self.clock.advance(FRESH)
        self.assert_found("two")
        self.assert_unknown("one")
        file.unlink()
        self.clock.advance(STALE)
        self.assert_unavailable("two")
        self.assertEqual(self.fetch.asked, [])

    def test_a_file_of_everybody(self) -> None:
        """Whoever can write it could sign for the issuer."""
        file = Path(self.mktemp())
        file.write_bytes(key_set(public_jwk(rsa_key("one"), "one")))
        file.chmod(0o666)
        self.keys = IssuerKeys(settings(jwks_file=file), self.fetch, self.clock)
        self.assert_unavailable()

    def test_a_bundle_of_spiffe(self) -> None:
        """Its keys for tokens count, those for certificates do not."""
        file = Path(self.mktemp())
        spiffe = settings(
            type="spiffe", issuer="", client_id="", trust_domain="x.example", jwks_file=file
        )
        one, two, three = (rsa_key(name) for name in ("one", "two", "three"))
        file.write_bytes(
            key_set(
                public_jwk(one, "one", use="jwt-svid"),
                public_jwk(two, "two", use="x509-svid"),
                public_jwk(three, "three", use=None),
            )
        )
        self.keys = IssuerKeys(spiffe, self.fetch, self.clock)
        self.assert_found("one")
        self.assert_unknown("two")
        self.assert_unknown("three")
