"""Attacks on the client leg of HTTPS: who is mixed with whom, what runs twice, what is recorded."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.events import Operation
from hoopgw.http.sessions import BODIES_LIMIT
from hoopgw.policy.decision import Deny, Hidden, Remedy, Review, Sight, Use, Verdict
from hoopgw.recording.records import Intent, Result, SessionStarted
from hoopgw.sessions.journal import NOT_SENT
from tests.adversarial.azure_gateway import ALLOW, VAULT_HOST, Client, Gateway
from tests.azure.world import GROUP

GROUPS = f"{GROUP}?api-version=2021-04-01"
LOCK = f"{GROUP}/providers/Microsoft.Authorization/locks/one?api-version=2020-05-01"
"""Whose deletion is short for clients: they wait."""
KEYS = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/shop/listKeys?api-version=2023-01-01"
SECRET = "/secrets/db?api-version=7.4"
REVIEW = Verdict(
    decision=Review(remedies=(Remedy(rule="four-eyes", groups=frozenset({"ops"})),)),
    because=("four-eyes",),
    policy="v1",
)


def held(operation: Operation) -> Verdict:
    """Let the session begin, and everything else wait for people."""
    return ALLOW if operation.action == "connect" else REVIEW


class MixingTests(SynchronousTestCase):
    """One connection, several targets and principals."""

    def test_a_token_for_two_targets(self) -> None:
        """What is for the vault does not go to the target that was asked before."""
        world = Gateway()
        client = world.connect()
        client.ask("GET", GROUPS)
        world.target.answer_json({})
        client.wire.take()
        body = b'{"value":"hunter2"}'
        client.ask("PUT", SECRET, host=VAULT_HOST, body=body, Content_Type="application/json")
        self.assertEqual([each.name for each in world.targets], ["arm", "keyvault"])
        self.assertNotIn(b"hunter2", world.targets[0].wire.written)
        self.assertEqual(
            [each.target for each in world.recorder.of(SessionStarted)], ["arm", "keyvault"]
        )
        self.assertNotIn(b"hunter2", b"".join(each.text for each in world.recorder.of(Intent)))

    def test_policy_is_asked_of_each_target(self) -> None:
        """Being let into one is not being let into another."""

        def verdict(operation: Operation) -> Verdict:
            if operation.target == "keyvault" and operation.action == "connect":
                return Verdict(decision=Deny(reason="not into vaults"), policy="v1")
            return ALLOW

        world = Gateway(verdict)
        client = world.connect()
        client.ask("GET", GROUPS)
        world.target.answer_json({})
        client.wire.take()
        self.assertIn(b"not into vaults", client.ask("GET", SECRET, host=VAULT_HOST))

    def test_two_principals_share_no_connection_to_a_target(self) -> None:
        world = Gateway()
        client = world.connect()
        for token in ("alice", "bob", "alice"):
            client.ask("GET", GROUPS, token=token)
            waiting = [each for each in world.targets if each.wire.take()]
            self.assertEqual(len(waiting), 1)
            waiting[0].answer_json({})
        self.assertEqual(len(world.targets), 2)
        self.assertEqual(len(world.recorder.of(SessionStarted)), 2)
        self.assertEqual(len(world.recorder.of(Result)), 3)


class OnceTests(SynchronousTestCase):
    """What is done once is not done twice."""

    def idle(self, world: Gateway) -> Client:
        """Return a client whose connection to the target was used before."""
        client = world.connect()
        client.ask("GET", GROUPS)
        world.target.answer_json({})
        client.wire.take()
        world.target.wire.take()
        return client

    def test_what_changes_something_is_not_sent_again(self) -> None:
        """The target took it, and closed: it may have done it."""
        for method in ("PUT", "DELETE", "PATCH", "POST"):
            world = Gateway()
            client = self.idle(world)
            path = GROUPS if method != "POST" else f"{GROUP}/exportTemplate?api-version=2021-04-01"
            client.ask(method, path, body=b"{}", Content_Type="application/json")
            self.assertEqual(len(world.targets), 1)
            self.assertTrue(world.target.wire.take().startswith(method.encode()))
            world.target.wire.lose()
            world.clock.advance(0)
            self.assertEqual(len(world.targets), 1, method)
            self.assertIn(b" 502 ", client.wire.take())

    def test_what_only_reads_is(self) -> None:
        world = Gateway()
        client = self.idle(world)
        client.ask("GET", GROUPS)
        world.target.wire.lose()
        world.clock.advance(0)
        self.assertEqual(len(world.targets), 2)

    def test_the_same_request_twice_at_once_is_one_request_for_approval(self) -> None:
        """Control takes its time; one of the two is done, once."""
        world = Gateway(held, slow_desk=True)
        clients = [world.connect() for _ in range(3)]
        for each in clients:
            each.ask("DELETE", LOCK)
        self.assertEqual(len(world.asked), 1)
        world.file(0)
        self.assertEqual(len(world.asked), 1)
        world.asked[0].settle("approved")
        world.clock.advance(0)
        self.assertEqual(world.sent().count(b"DELETE "), 1)
        answers = [each.wire.take() for each in clients]
        self.assertEqual(sum(b"it has been used" in each for each in answers), 2)

    def test_a_session_that_ends_while_it_asks(self) -> None:
        """What it asked for does not wait for people after it."""
        world = Gateway(held, slow_desk=True)
        client = world.connect()
        client.ask("DELETE", GROUPS)
        (session,) = client.connection.sessions.values()
        session.decider.close()
        world.file(0)
        self.assertTrue(world.asked[0].settled.called)
        self.assertIn(b" 403 ", client.wire.take())

    def test_an_approval_is_the_principals_own(self) -> None:
        world = Gateway(held)
        client = world.connect()
        client.ask("DELETE", LOCK, X_Hoopgw_Wait="0")
        world.asked[0].settle("approved")
        self.assertIn(
            b"ApprovalRequired", client.ask("DELETE", LOCK, token="bob", X_Hoopgw_Wait="0")
        )
        self.assertNotIn(b"DELETE", world.sent())
        client.ask("DELETE", LOCK)
        self.assertEqual(world.sent().count(b"DELETE "), 1)

    def test_what_was_approved_is_what_is_sent(self) -> None:
        """Another body, query or field is another request."""
        world = Gateway(held)
        client = world.connect()
        kind = {"Content_Type": "application/json", "X_Hoopgw_Wait": "0"}
        client.ask("PUT", GROUPS, body=b'{"location":"a"}', **kind)
        world.asked[0].settle("approved")
        for path, body, fields in (
            (GROUPS, b'{"location":"b"}', kind),
            (GROUPS + "&x=1", b'{"location":"a"}', kind),
            (GROUPS, b'{"location":"a"}', {**kind, "If_Match": "*"}),
        ):
            self.assertIn(b"ApprovalRequired", client.ask("PUT", path, body=body, **fields))
        self.assertEqual(world.sent(), b"")


class LeavingTests(SynchronousTestCase):
    """Clients that go away at every moment; what the recording says of it."""

    def outcomes(self, world: Gateway) -> list[str]:
        """Return how requests came out."""
        return [each.outcome for each in world.recorder.of(Result)]

    def test_in_the_middle_of_an_answer(self) -> None:
        """The recording does not say that it was given whole."""
        world = Gateway()
        client = world.connect()
        client.ask("GET", GROUPS)
        world.target.answer("200 OK\r\nContent-Type: text/html", b"some", length=100)
        client.leave()
        (outcome,) = self.outcomes(world)
        self.assertTrue(outcome.startswith("LOST"), outcome)

    def test_a_target_that_breaks_off(self) -> None:
        world = Gateway()
        client = world.connect()
        client.ask("GET", GROUPS)
        world.target.answer("200 OK\r\nContent-Type: text/html", b"some", length=100)
        world.target.wire.lose()
        world.clock.advance(0)
        (outcome,) = self.outcomes(world)
        self.assertTrue(outcome.startswith("FAILED"), outcome)
        self.assertEqual(client.wire.ended, "aborted")

    def test_an_answer_that_is_no_json(self) -> None:
        """It is withheld, as Azure would say it, and no fault of ours."""
        world = Gateway()
        client = world.connect()
        client.ask("POST", KEYS)
        world.target.answer("200 OK\r\nContent-Type: application/json", b'{"keys": nonsense}')
        got = client.wire.take()
        self.assertNotIn(b" 500 ", got)
        (outcome,) = self.outcomes(world)
        self.assertTrue(outcome.startswith("FAILED"), outcome)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_while_the_record_is_put_on_disk(self) -> None:
        """Nothing is sent, and the recording says so."""
        world = Gateway(lambda _operation: evolve(ALLOW, strict=True))
        client = world.connect()
        world.recorder.hold_syncs = True
        client.ask("DELETE", GROUPS)
        client.leave()
        self.assertEqual(world.sent(), b"")
        self.assertEqual(len(world.recorder.of(Intent)), 1)
        self.assertEqual(self.outcomes(world), [NOT_SENT])

    def test_once_it_is_approved(self) -> None:
        world = Gateway(held)
        client = world.connect()
        client.ask("DELETE", LOCK)
        world.recorder.hold_syncs = True
        world.asked[0].settle("approved")
        client.leave()
        self.assertEqual(world.sent(), b"")
        self.assertEqual(self.outcomes(world), [NOT_SENT])

    def test_while_it_waits_for_people(self) -> None:
        world = Gateway(held)
        client = world.connect()
        client.ask("DELETE", LOCK)
        client.leave()
        self.assertTrue(world.asked[0].settled.called)
        self.assertEqual(world.sent(), b"")

    def test_while_the_target_is_opened(self) -> None:
        """What is opened then serves nobody."""
        world = Gateway(slow_link=[])
        client = world.connect()
        client.ask("GET", GROUPS)
        client.leave()
        self.assertTrue(self.outcomes(world)[0].startswith("LOST"))
        self.assertEqual(world.factory.pool.size, 0)

    def test_no_session_stays(self) -> None:
        """However a client leaves, its session ends a while after."""
        world = Gateway()
        for _ in range(3):
            client = world.connect()
            client.ask("GET", GROUPS)
            client.leave()
        self.assertEqual(len(world.factory.live), 1)
        world.clock.advance(61)
        self.assertEqual(len(world.factory.live), 0)
        self.assertEqual(world.closed, ["s-1"])


class RecordTests(SynchronousTestCase):
    """What may not be in a log that forgets nothing."""

    def test_keys_that_an_auditor_sees(self) -> None:
        world = Gateway(sights=lambda _field: Sight(mask=None))
        client = world.connect()
        client.ask("POST", KEYS)
        world.target.answer_json({"keys": [{"keyName": "key1", "value": "c2VjcmV0"}]})
        self.assertIn(b"c2VjcmV0", client.wire.take())
        (result,) = world.recorder.of(Result)
        self.assertNotIn(b"c2VjcmV0", result.output)
        self.assertIn(b"200", result.output)

    def test_everything_that_was_sent_was_written_before(self) -> None:
        """And nothing is sent that cannot be."""
        world = Gateway()
        client = world.connect()
        client.ask("GET", GROUPS)
        world.target.answer_json({})
        world.target.wire.take()
        client.wire.take()
        world.recorder.full = True
        self.assertIn(b" 503 ", client.ask("DELETE", GROUPS))
        self.assertEqual(world.sent(), b"")


class StoringTests(SynchronousTestCase):
    """What clients can make the gateway keep."""

    def test_bodies_that_wait_with_their_requests(self) -> None:
        """However many connections one session has."""
        world = Gateway(held)
        body = b'{"x":"' + b"a" * 2_000_000 + b'"}'
        answers = []
        clients = [world.connect() for _ in range(40)]
        for number, client in enumerate(clients):
            path = f"{GROUPS}&n={number % 3}"
            answers.append(client.ask("PUT", path, body=body, Content_Type="application/json"))
        (session,) = {each for client in clients for each in client.connection.sessions.values()}
        self.assertLessEqual(session.stored, BODIES_LIMIT)
        self.assertGreater(sum(b" 503 " in each for each in answers), 5)
        for client in clients:
            client.leave()
        self.assertEqual(session.stored, 0)

    def test_who_was_told_to_come_again_may_take_its_time(self) -> None:
        """People need more than a minute, and nobody is connected meanwhile."""
        world = Gateway(held)
        client = world.connect()
        client.ask("DELETE", GROUPS, X_Hoopgw_Wait="0")
        client.leave()
        for _ in range(6):
            world.clock.advance(60)
        self.assertFalse(world.asked[0].settled.called)
        world.asked[0].settle("approved")
        world.clock.advance(30)
        world.connect().ask("DELETE", GROUPS)
        self.assertEqual(world.sent().count(b"DELETE "), 1)
        world.clock.advance(30)

    def test_nor_does_it_stay_for_ever(self) -> None:
        world = Gateway(held)
        client = world.connect()
        client.ask("DELETE", GROUPS, X_Hoopgw_Wait="0")
        client.leave()
        world.asked[0].settle("expired")
        for _ in range(6):
            world.clock.advance(60)
        self.assertEqual(len(world.factory.live), 0)


class EndingTests(SynchronousTestCase):
    """Grants that end while an answer comes."""

    def begun(self, world: Gateway) -> Client:
        """Begin an answer."""
        client = world.connect()
        client.ask("POST", KEYS)
        half = b'{"keys": [{"value": "c2VjcmV0"}, '
        world.target.answer("200 OK\r\nContent-Type: application/json", half, length=99)
        return client

    def test_what_allowed_it(self) -> None:
        world = Gateway()
        client = self.begun(world)
        world.verdict = denied
        self.assertIsNone(world.reconsider())
        self.assertEqual(client.wire.ended, "aborted")

    def test_what_let_secrets_be_seen(self) -> None:
        """It may still be done, but the rest must not come in clear."""
        world = Gateway(sights=lambda _field: Sight(mask=None))
        client = self.begun(world)
        self.assertIsNone(world.reconsider())
        self.assertEqual(client.wire.ended, "")
        world.sights = lambda _field: Hidden(reason="no")
        self.assertIsNone(world.reconsider())
        self.assertEqual(client.wire.ended, "aborted")

    def test_one_call_is_let_end(self) -> None:
        """The grant for it is used up as soon as it runs."""
        world = Gateway(denied)
        client = self.begun(world)
        self.assertIsNone(world.reconsider())
        self.assertEqual(client.wire.ended, "")


def denied(operation: Operation) -> Verdict:
    """Deny what may be done by a grant for one call."""
    if operation.action == "connect":
        return ALLOW
    uses = (Use(grant="g-1", because=("granted",), digest=operation.digest),)
    return Verdict(decision=Deny(reason="no", uses=uses), policy="v1")
