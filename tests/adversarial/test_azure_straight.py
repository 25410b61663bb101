"""The straight way over HTTP: it gives nothing that the usual way would not, and skips no check."""

from __future__ import annotations

import gzip
from types import SimpleNamespace
from typing import Any, Final

import msgspec
from attrs import define, evolve
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.events import Cap, Hop, Operation, Principal, Resource
from hoopgw.http.straight import KEPT_FOR
from hoopgw.policy.decision import Deny, Sight, Verdict
from hoopgw.recording.records import DecisionInput, Intent, Result
from hoopgw.sessions.purses import Listing
from hoopgw_azure.model import UNREAD
from hoopgw_azure.operations import FORWARDED, FORWARDED_PREFIXES, REFUSED
from tests.adversarial.azure_gateway import ALLOW, REST_HOST, VAULT_HOST, Client, Gateway
from tests.adversarial.rest_service import ORDER, made

REFUSE: Final = Verdict(decision=Deny(reason="not any more"), policy="v2")
TEXT: Final = "200 OK\r\nContent-Type: text/plain"


def warm(world: Gateway, client: Client | None = None, path: str = ORDER) -> Client:
    """Return a connection that has asked twice, so that the like of it may go straight."""
    client = client or world.connect()
    for _ in range(2):
        client.ask("GET", path, host=REST_HOST)
        world.target.answer(TEXT, b"first")
        assert b"first" in client.wire.take()
    world.policy.asked = 0
    for each in world.targets:
        each.wire.take()
    return client


class LikeTests(SynchronousTestCase):
    """What is alike goes straight; what is not, does not."""

    def ask(self, world: Gateway, client: Client, path: str = ORDER, **fields: Any) -> bool:
        """Ask, and be answered; return whether it went straight."""
        before = world.policy.asked
        sent = client.ask("GET", path, host=REST_HOST, **fields)
        self.assertEqual(sent, b"")
        world.target.answer(TEXT, b"again")
        self.assertIn(b"again", client.wire.take())
        return world.policy.asked == before

    def test_the_same_request_again(self) -> None:
        """It is sent and recorded as the first one was."""
        world = made()
        client = warm(world)
        self.assertTrue(self.ask(world, client))
        _, first, second = world.recorder.of(Intent)
        again = msgspec.structs.replace(second, sequence=first.sequence, at=first.at)
        self.assertEqual(again, first)
        self.assertGreater(second.at, first.at)
        results = world.recorder.of(Result)[1:]
        self.assertEqual([each.intent for each in results], [first.sequence, second.sequence])
        self.assertEqual(results[1].outcome, "200 OK")
        self.assertTrue(results[1].output.endswith(b"\r\n\r\nagain"))
        sequences = [record.sequence for record in world.recorder.records]
        self.assertEqual(sequences, list(range(len(sequences))))

    def test_what_changes_an_answer(self) -> None:
        """Links lead to the gateway, and an answer that leads elsewhere is not shown."""
        world = made(hosts=["api.example"])
        client = warm(world)
        for link, shown in (
            ("https://api.example/orders/2", b"https://rest.gw.example/orders/2"),
            ("https://elsewhere.example/", b" 502 "),
        ):
            client.ask("GET", ORDER, host=REST_HOST)
            self.assertEqual(world.policy.asked, 0)
            world.target.answer_json({"next": link})
            self.assertIn(shown, client.wire.take())
            self.assertEqual(client.wire.ended, "")
        first, second = world.recorder.of(Result)[2:]
        self.assertIn(b"rest.gw.example/orders/2", first.output)
        self.assertTrue(second.outcome.startswith("FAILED"))

    def test_what_becomes_large_takes_turns(self) -> None:
        """A few bytes with a content encoding may be megabytes, which others must not wait for."""
        world = made(hosts=["api.example"])
        client = warm(world)
        for coding, pieces in (("identity", False), ("gzip", True)):
            client.ask("GET", ORDER, host=REST_HOST)
            self.assertEqual(world.policy.asked, 0)
            said = b'{"next":"https://api.example/orders/2"}' + b" " * (100_000 if pieces else 9)
            body = gzip.compress(said) if pieces else said
            kind = "" if coding == "identity" else f"\r\nContent-Encoding: {coding}"
            world.target.answer(f"200 OK\r\nContent-Type: application/json{kind}", body)
            answer = client.wire.take()
            self.assertIn(b"https://rest.gw.example/orders/2", answer)
            self.assertEqual(b"Transfer-Encoding: chunked" in answer, pieces)

    def test_it_is_recorded_before_it_is_sent(self) -> None:
        """With a recorder that takes nothing, nothing is sent."""
        world = made()
        client = warm(world)
        world.recorder.full = True
        self.assertIn(b" 503 ", client.ask("GET", ORDER, host=REST_HOST))
        self.assertEqual(world.sent(), b"")
        world.recorder.full = False
        self.assertTrue(self.ask(world, client))

    def test_what_is_asked_once_is_not_kept(self) -> None:
        """The second time it is, so the third goes straight."""
        world = made()
        client = warm(world, path="/orders/9")
        told = [self.ask(world, client) for _ in range(3)]
        self.assertEqual(told, [False, False, True])

    def test_ids_of_the_client_make_no_difference(self) -> None:
        """Each request of an SDK has new ones, which go nowhere."""
        world = made()
        client = warm(world)
        self.assertTrue(self.ask(world, client, X_Ms_Client_Request_Id="a-1", User_Agent="x"))
        self.assertNotIn(b"a-1", world.sent())

    def test_what_is_not_looked_at_is_neither_sent_nor_refused(self) -> None:
        """The list of names holds none on which anything depends."""
        self.assertTrue(UNREAD.isdisjoint(FORWARDED | REFUSED))
        self.assertFalse([name for name in UNREAD if name.startswith(FORWARDED_PREFIXES)])
        self.assertTrue(
            UNREAD.isdisjoint({b"host", b"connection", b"content-type", b"content-encoding"})
        )
        self.assertFalse([name for name in UNREAD if name.startswith(b"x-hoopgw")])

    def test_what_makes_another_request_is_judged(self) -> None:
        """Another path, query, field or account."""
        requests: tuple[tuple[str, dict[str, Any]], ...] = (
            ("/orders/2", {}),
            (ORDER + "?a=b", {}),
            (ORDER, {"If_Match": "1"}),
            (ORDER, {"Accept": "text/plain"}),
            (ORDER, {"X_Whatever": "1"}),
            (ORDER, {"X_Hoopgw_Account": "other"}),
        )
        for path, fields in requests:
            world = made()
            self.assertFalse(self.ask(world, warm(world), path, **fields), (path, fields))

    def test_what_is_refused_stays_refused(self) -> None:
        """A field that would make another request of it is no detail."""
        world = made()
        client = warm(world)
        for name in ("X_Http_Method_Override", "X_Original_Url"):
            fields: dict[str, Any] = {name: "DELETE"}
            answer = client.ask("GET", ORDER, host=REST_HOST, **fields)
            self.assertIn(b" 400 ", answer)
        self.assertEqual(world.sent(), b"")

    def test_other_methods_are_judged(self) -> None:
        """Only a GET without a body goes straight."""
        world = made()
        client = world.connect()
        for number in range(1, 4):
            client.ask("POST", "/orders", host=REST_HOST, body=b"{}")
            world.target.answer(TEXT, b"done")
            self.assertIn(b"done", client.wire.take())
            self.assertEqual(world.policy.asked, number + 1)  # and the session itself
        self.assertIn(b" 400 ", client.ask("GET", ORDER, host=REST_HOST, body=b"x"))

    def test_masked_answers_do_not(self) -> None:
        """How fields are shown is asked, and recorded, for each."""
        seen: list[str] = []

        def sight(field_: Resource) -> Sight:
            seen.append(field_.id)
            return Sight(mask="redact")

        world = made(sights=sight)
        client = world.connect()
        for number in range(1, 4):
            client.ask("GET", "/cards/1", host=REST_HOST)
            world.target.answer_json({"number": "4111"})
            self.assertNotIn(b"4111", client.wire.take())
            self.assertEqual(len(seen), number)


class ChangeTests(SynchronousTestCase):
    """Whatever a verdict followed from, its end ends the straight way."""

    def refused(self, world: Gateway, client: Client, status: bytes = b" 403 ") -> None:
        """Ask for what went straight before: nothing is sent."""
        self.assertIn(status, client.ask("GET", ORDER, host=REST_HOST))
        self.assertEqual(world.sent(), b"")

    def test_policy(self) -> None:
        """A reload, a grant's end, a second: each changes the epoch."""
        world = made()
        client = warm(world)
        world.verdict = lambda _operation: REFUSE
        self.refused(world, client)
        self.assertEqual(world.recorder.of(Intent)[-1].decision, "deny")

    def test_an_epoch_alone(self) -> None:
        """What is kept is judged anew, and kept again."""
        world = made()
        client = warm(world)
        world.policy.changes += 1
        warm(world, client)
        self.assertEqual(world.policy.asked, 0)
        client.ask("GET", ORDER, host=REST_HOST)
        self.assertEqual(world.policy.asked, 0)
        self.assertEqual(world.sent().count(b"GET "), 1)

    def test_a_verdict_that_came_while_policy_changed(self) -> None:
        """It is of neither epoch, so it is not kept."""
        world = made()

        def verdict(_operation: Operation) -> Verdict:
            world.policy.changes += 1
            return ALLOW

        world.verdict = verdict
        client = warm(world)
        client.ask("GET", ORDER, host=REST_HOST)
        self.assertGreater(world.policy.asked, 0)

    def test_verdicts_that_are_not_plain(self) -> None:
        """What used a grant says so each time; broken glass is on disk first."""
        for more in ({"grants": ("g",)}, {"strict": True}):
            world = made(verdict=lambda _operation, more=more: evolve(ALLOW, **more))
            client = warm(world)
            client.ask("GET", ORDER, host=REST_HOST)
            self.assertGreater(world.policy.asked, 0, more)

    def test_revocation(self) -> None:
        """The session is cut: its connections end, and nothing of it is kept for others."""
        world = made()
        client, other = warm(world), world.connect()
        warm(world, other)
        (session,) = client.connection.sessions.values()
        del world.tokens["alice"]
        session.cut("revoked")
        for each in (client, other):
            self.assertEqual(each.ask("GET", ORDER, host=REST_HOST), b"")
            self.assertTrue(each.wire.ended)
        self.refused(world, world.connect(), b" 401 ")

    def test_revocation_within_a_request(self) -> None:
        """What is under way is cut, and the recording says that it was not given."""
        world = made()
        client = warm(world)
        client.ask("GET", ORDER, host=REST_HOST)
        (session,) = client.connection.sessions.values()
        session.cut("revoked")
        world.clock.advance(0)
        self.assertEqual(client.wire.ended, "aborted")
        self.assertEqual(world.targets[-1].wire.ended, "aborted")
        self.assertFalse(session.running)
        self.assertNotIn("200", world.recorder.of(Result)[-1].outcome)

    def test_a_grant_that_ends_within_a_request(self) -> None:
        """What would not be allowed any more is cut, as on the usual way."""
        world = made()
        client = warm(world)
        client.ask("GET", ORDER, host=REST_HOST)
        world.verdict = lambda operation: ALLOW if operation.action == "connect" else REFUSE
        self.assertIsNone(world.reconsider())
        self.assertEqual(client.wire.ended, "aborted")

    def test_the_proof_ends(self) -> None:
        """What a connection has shown is verified anew, also where its requests go straight."""
        world = made()
        client = warm(world)
        del world.tokens["alice"]
        client.ask("GET", ORDER, host=REST_HOST)
        world.target.answer(TEXT, b"still")
        self.assertIn(b"still", client.wire.take())
        world.target.wire.take()
        world.clock.advance(30)
        self.refused(world, client, b" 401 ")

    def test_another_proof(self) -> None:
        """Each token has its own principal: nobody goes another's way."""
        hop = Hop(id="corp|alice", name="alice", kind="person")
        caps = (Cap(target="other", actions=frozenset({"*"})),)
        narrow = Principal(chain=(evolve(hop, caps=caps),), session="login-1", expires=1e9)
        for token in ("bob", "narrow"):
            world = made()
            world.tokens["narrow"] = narrow
            client = warm(world)
            client.ask("GET", ORDER, host=REST_HOST, token=token)
            self.assertGreater(world.policy.asked, 0, token)
            self.assertEqual(len({each.session for each in world.recorder.of(Intent)}), 2)
            self.assertEqual(len(world.targets), 2)
        world = made()
        client = warm(world)
        self.assertIn(b" 401 ", client.ask("GET", ORDER, host=REST_HOST, token="carol"))

    def test_another_host(self) -> None:
        """The same path of another target is another request."""
        world = made()
        client = warm(world)
        client.ask("GET", ORDER, host=VAULT_HOST)
        self.assertGreater(world.policy.asked, 0)
        self.assertEqual(world.target.name, "keyvault")

    def test_the_key_of_seals_and_masks(self) -> None:
        """A caller's seal is of the key that there is."""
        world = made()
        client = warm(world)
        world.key = b"n" * 32
        client.ask("GET", ORDER, host=REST_HOST)
        self.assertEqual(world.policy.asked, 1)

    def test_nothing_is_kept_for_long(self) -> None:
        """Then it is worked out anew."""
        world = made()
        client = warm(world)
        world.clock.advance(KEPT_FOR)
        client.ask("GET", ORDER, host=REST_HOST)
        self.assertEqual(world.policy.asked, 1)

    def test_what_policy_was_asked_is_in_the_log(self) -> None:
        """It is written again where it was not, lately."""
        world = made()
        client = warm(world)
        world.factory.live.inputs.until = 0
        before = len(world.recorder.of(DecisionInput))
        client.ask("GET", ORDER, host=REST_HOST)
        self.assertEqual(len(world.recorder.of(DecisionInput)), before + 1)

    def test_budgets(self) -> None:
        """Each request of a chain with a budget is paid for."""
        purse = Purse()
        world = made(budgets=purse)
        client = warm(world)
        for _ in range(3):
            client.ask("GET", ORDER, host=REST_HOST)
            world.target.answer(TEXT, b"x")
            client.wire.take()
        self.assertEqual(purse.spent, 5)
        world.target.wire.take()
        purse.left = False
        self.refused(world, client, b" 429 ")

    def test_strict_durability(self) -> None:
        """Each intent is on disk before its request is sent."""
        world = made(durability="strict")
        client = warm(world)
        world.recorder.hold_syncs = True
        client.ask("GET", ORDER, host=REST_HOST)
        self.assertEqual((len(world.recorder.syncs), world.sent()), (1, b""))


@define(eq=False)
class Purse:
    """A budget of operations. Implements `Budgets`, and the purse that they give."""

    left: bool = True
    spent: int = 0

    def open(self, _principal: Principal) -> Purse:
        """Return the purse."""
        return self

    def listing(self, _principal: Principal, _listing: Listing) -> Any:
        """Return one that has no limit."""
        return SimpleNamespace(room=lambda _: None, used=lambda _: None, close=lambda: None)

    def spend(self, _names: object) -> bool:
        """Pay for a request."""
        self.spent += self.left
        return self.left

    def fund(self, _names: object) -> Deferred[str]:
        """Say that it is used up."""
        return succeed("the budget is used up")

    def room(self, _name: str) -> None:
        """Return no limit."""

    def used(self, _amounts: object) -> None:
        """Count nothing."""

    def close(self) -> None:
        """Do nothing."""


class LossTests(SynchronousTestCase):
    """Either side goes away."""

    def test_the_client(self) -> None:
        """The target's connection is not used again, and the recording says why."""
        world = made()
        client = warm(world)
        client.ask("GET", ORDER, host=REST_HOST)
        target = world.target
        client.leave()
        self.assertEqual(target.wire.ended, "aborted")
        self.assertEqual(world.recorder.of(Result)[-1].outcome, "LOST: the client left")
        self.assertEqual(len(world.recorder.of(Result)), 3)

    def test_the_target_before_it_answers(self) -> None:
        """It was kept open since an earlier request: what only reads is sent again, once."""
        world = made()
        client = warm(world)
        client.ask("GET", ORDER, host=REST_HOST)
        world.target.wire.lose()
        world.clock.advance(0)
        self.assertEqual(len(world.targets), 2)
        world.target.answer(TEXT, b"new")
        self.assertIn(b"new", client.wire.take())
        self.assertEqual(len(world.recorder.of(Intent)), 3)
        self.assertEqual(world.recorder.of(Result)[-1].outcome, "200 OK")

    def test_the_target_within_its_answer(self) -> None:
        """The client sees that it is not whole, and so does the recording."""
        world = made()
        client = warm(world)
        client.ask("GET", ORDER, host=REST_HOST)
        world.target.answer(TEXT, b"part", length=100)
        world.target.wire.lose()
        world.clock.advance(0)
        self.assertEqual(client.wire.ended, "aborted")
        self.assertTrue(world.recorder.of(Result)[-1].outcome.startswith("FAILED"))

    def test_the_target_says_nothing(self) -> None:
        """There is a deadline."""
        world = made()
        client = warm(world)
        client.ask("GET", ORDER, host=REST_HOST)
        for _ in range(5):
            world.clock.advance(60)
        self.assertIn(b" 504 ", client.wire.take())
        self.assertFalse(client.connection.sessions.popitem()[1].running)

    def test_an_answer_that_may_not_be_shown(self) -> None:
        """It is refused as ever: 401 says that the agent's credential is not good."""
        world = made()
        client = warm(world)
        client.ask("GET", ORDER, host=REST_HOST)
        world.target.answer("401 Unauthorized", b"who?")
        self.assertIn(b" 502 ", client.wire.take())
        self.assertTrue(world.recorder.of(Result)[-1].outcome.startswith("FAILED"))
