"""Log-ins with a device code, as workers ask for them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from hoopgw.control.device_logins import CODES_LIMIT, PATIENCE, DeviceLogins
from hoopgw.identity.device_flow import DeviceIssuer
from hoopgw.identity.forms import FormLimits
from hoopgw.identity.settings import IssuerSettings
from hoopgw.wire_values import principal_from_dict
from tests.identity.forge import NOW, claims, token
from tests.identity.test_device_flow import CODE, ISSUER, Provider
from tests.identity.test_exchange import ExchangeTestCase

GIVEN = {"access_token": token(), "id_token": token()}


class DeviceLoginCase(ExchangeTestCase):
    """A worker that asks for somebody's client."""

    def setUp(self) -> None:
        super().setUp()
        self.clock, self.provider = Clock(), Provider()
        settings = IssuerSettings(
            alias="corp", issuer=ISSUER, client_id="hoopgw-cli", audiences=["hoopgw"]
        )
        self.provider.answers[f"{ISSUER}/device"] = [(200, CODE)]
        self.answer({"error": "authorization_pending"}, status=400)
        issuer = DeviceIssuer(settings, self.provider, self.clock)
        self.devices = DeviceLogins(
            self.exchange, {"corp": issuer}, FormLimits(), self.clock, lambda: self.now
        )

    def answer(self, *answers: Any, status: int = 200) -> None:
        """Let the issuer answer when it is polled."""
        self.provider.answers[f"{ISSUER}/token"] = [(status, each) for each in answers]

    def call(self, name: str, **body: Any) -> Deferred[Any]:
        """Call, as a worker does."""
        handler: Any = self.devices.handlers()[name]
        return Deferred.fromCoroutine(handler({"address": "192.0.2.7", **body}))

    def begin(self, issuer: str = "corp", address: str = "192.0.2.7") -> Any:
        """Begin, and return the answer."""
        return self.successResultOf(self.call("device_begin", issuer=issuer, address=address))

    def polls(self) -> int:
        """Count how often the issuer was asked."""
        return sum(url.endswith("/token") for _, url, _ in self.provider.asked)


class DeviceLoginTests(DeviceLoginCase):
    """`DeviceLogins`."""

    def test_approved(self) -> None:
        """A log-in begins as at the token endpoint, and can be revoked there; once."""
        begun = self.begin()
        self.assertEqual((begun["code"], begun["url"]), (CODE["user_code"], f"{ISSUER}/enter"))
        self.assertEqual(begun["complete"], CODE["verification_uri_complete"])
        polling = self.call("device_poll", id=begun["id"])
        self.answer(GIVEN)
        self.clock.advance(2)
        principal = principal_from_dict(self.successResultOf(polling)["principal"])
        self.assertEqual(principal.root.id, "corp|alice-1")
        self.assertTrue(principal.session)
        self.assertFalse(principal.proved)
        again = self.successResultOf(self.call("device_poll", id=begun["id"]))
        self.assertEqual(again["error"], "expired_token")

    def test_a_token_that_is_not_good(self) -> None:
        """The token endpoint refuses it, whoever the issuer is."""
        for wrong in ({"aud": "other"}, {"azp": "stranger"}, {"exp": NOW - 60}, {"iss": "x"}):
            bad = token(claims(**wrong))
            begun = self.begin()
            self.answer({"access_token": bad, "id_token": bad})
            polling = self.call("device_poll", id=begun["id"])
            self.clock.advance(2)
            refused = self.successResultOf(polling)
            self.assertEqual(refused["error"], "access_denied")
            self.assertNotIn(bad, str(refused))

    def test_nobody_has_approved_yet(self) -> None:
        """It is said after a while, and the issuer is asked no more often than it wants."""
        begun = self.begin()
        polling = self.call("device_poll", id=begun["id"])
        self.clock.pump([0.5] * int(PATIENCE * 2 + 4))
        self.assertEqual(self.successResultOf(polling), {"pending": True})
        self.assertEqual(self.polls(), int(PATIENCE / CODE["interval"]))  # type: ignore[operator]
        self.answer(GIVEN)
        polling = self.call("device_poll", id=begun["id"])
        self.clock.advance(2)
        self.assertIn("principal", self.successResultOf(polling))

    def test_slower(self) -> None:
        """When the issuer says so."""
        begun = self.begin()
        self.answer({"error": "slow_down"}, status=400)
        polling = self.call("device_poll", id=begun["id"])
        self.clock.pump([0.5] * int(PATIENCE * 2 + 4))
        self.successResultOf(polling)
        self.assertLess(self.polls(), 4)

    def test_over(self) -> None:
        """A code ends, and with it the wait."""
        self.provider.answers[f"{ISSUER}/device"] = [(200, {**CODE, "expires_in": 5})]
        begun = self.begin()
        polling = self.call("device_poll", id=begun["id"])
        self.clock.pump([0.5] * 12)
        self.assertEqual(self.successResultOf(polling)["error"], "access_denied")
        late = self.successResultOf(self.call("device_poll", id=begun["id"]))
        self.assertEqual(late["error"], "expired_token")

    def test_the_client_goes(self) -> None:
        """Whoever approves afterwards begins no log-in."""
        begun = self.begin()
        polling = self.call("device_poll", id=begun["id"])
        drop: Any = self.devices.handlers()["device_drop"]
        drop({"id": begun["id"]})
        self.answer(GIVEN)
        self.clock.advance(2)
        self.assertEqual(self.successResultOf(polling)["error"], "access_denied")
        self.assertEqual(self.polls(), 0)

    def test_polled_twice_at_once(self) -> None:
        """The second is refused: one connection has one wait."""
        begun = self.begin()
        self.call("device_poll", id=begun["id"])
        second = self.successResultOf(self.call("device_poll", id=begun["id"]))
        self.assertEqual(second["error"], "expired_token")

    def test_other_issuers(self) -> None:
        """None is asked that no listener names."""
        self.assertEqual(self.begin("other")["error"], "not_served")
        self.assertEqual(self.provider.asked, [])

    def test_too_many(self) -> None:
        """Of one address, and of all together."""
        given = [self.begin() for _ in range(10)]
        self.assertEqual([g.get("error") for g in given[6:]], ["slow_down"] * 4)
        for number in range(CODES_LIMIT):
            self.begin(address=f"10.0.{number // 250}.{number % 250}")
        self.assertEqual(self.begin(address="10.9.9.9")["error"], "slow_down")
        self.clock.advance(601)
        self.assertIn("id", self.begin(address="10.9.9.9"))

    def test_the_issuer_is_away(self) -> None:
        """Said as what it is; the code stays."""
        begun = self.begin()
        self.answer({}, status=500)
        polling = self.call("device_poll", id=begun["id"])
        self.clock.advance(2)
        self.assertEqual(self.successResultOf(polling)["error"], "temporarily_unavailable")
        self.answer(GIVEN)
        polling = self.call("device_poll", id=begun["id"])
        self.clock.advance(2)
        self.assertIn("principal", self.successResultOf(polling))
        self.provider.answers[f"{ISSUER}/device"] = [(500, {})]
        self.assertEqual(self.begin()["error"], "temporarily_unavailable")
