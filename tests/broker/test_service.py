"""What a broker answers, to whom, and how it ends."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from joserfc.jwk import OKPKey
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.broker.service import CHILDREN_LIMIT, CONNECTIONS_LIMIT, SOCKET
from hoopgw.client.messages import LINE_LIMIT, decode, terms_to_dict
from hoopgw.client.signers import ChildTerms
from hoopgw.client.values import parse_caps
from hoopgw.identity.hops import prove, public_jwk
from hoopgw.identity.tokens import target_audience
from tests.broker.served import Asker, ServedBroker, attach
from tests.identity.forge import NOW
from tests.support.processes import wait_until

ORDERS = target_audience("orders")


class ServiceTestCase(SynchronousTestCase):
    """A broker that serves a planner to a process."""

    def setUp(self) -> None:
        self.served = ServedBroker()
        self.served.__enter__()
        self.addCleanup(self.served.__exit__)
        self.asker = self.start()
        self.planner = self.served.serve(self.asker, caps=parse_caps(["orders:Postgres::read"]))
        self.socket = self.planner.resident.folder / SOCKET

    def start(self) -> Asker:
        """Start a process that asks."""
        asker = Asker.start()
        self.addCleanup(asker.stop)
        return asker

    def ask(self, op: str, **values: Any) -> dict[str, Any]:
        """Have the planner's process ask."""
        return self.asker.ask(self.socket, op, **values)

    def terms(self, **changes: Any) -> dict[str, Any]:
        """Return good terms for a grandchild."""
        given = ChildTerms(
            name="migrator", expires=NOW + 600.0, caps=parse_caps(["orders:Postgres::read"])
        )
        return terms_to_dict(given) | changes


class AnswerTests(ServiceTestCase):
    """What the child's own process is told."""

    def test_who_it_is(self) -> None:
        """Its path and its end."""
        answer = self.ask("standing")
        self.assertEqual((answer["path"], answer["version"]), ("alice / planner", 1))

    def test_a_proof(self) -> None:
        """Which the gateway takes."""
        answer = self.ask("prove", audience=ORDERS)
        self.assertEqual(self.served.gateway.sees(answer["token"]).path, "alice / planner")

    def test_targets(self) -> None:
        """As far as caps leave them."""
        names = [target["name"] for target in self.ask("targets")["targets"]]
        self.assertEqual(names, ["orders"])

    def test_a_hop_for_a_key_of_its_own(self) -> None:
        """The child's key never leaves; the hop says what the broker knows."""
        key = OKPKey.generate_key("Ed25519", private=True)
        terms = self.terms(isolated=True)
        answer = self.ask("mint", jwk=public_jwk(key), terms=terms)
        seen = self.served.gateway.sees(prove(answer["chain"], key, ORDERS, NOW))
        self.assertEqual(seen.path, "alice / planner / migrator")
        self.assertFalse(seen.chain[2].isolated)

    def test_no_answer_has_a_key(self) -> None:
        """Nothing private of the planner's or alice's, in whatever is asked."""
        key = self.planner.resident.signer.key.as_dict(private=True)["d"]
        hers = self.served.gateway.current()
        for op, values in (("standing", {}), ("targets", {}), ("prove", {"audience": ORDERS})):
            answer = str(self.ask(op, **values))
            self.assertNotIn(key, answer)
            self.assertNotIn(str(hers.key.as_dict(private=True)["d"]), answer)

    def test_what_is_no_request(self) -> None:
        """Is refused, and the broker goes on."""
        for op, values in (
            ("nothing", {}),
            ("prove", {}),
            ("prove", {"audience": 5}),
            ("prove", {"audience": "x" * 1000}),
            ("mint", {"jwk": "key", "terms": self.terms()}),
            ("mint", {"jwk": {}, "terms": self.terms()}),
            ("serve", {"terms": None, "accounts": {}}),
            ("serve", {"terms": self.terms(), "accounts": {"a": 5}}),
            ("attach", {"pid": 1}),
        ):
            self.assertEqual(self.ask(op, **values)["error"], "bad_request", op)
        self.assertEqual(self.ask("standing")["path"], "alice / planner")


class GuestTests(ServiceTestCase):
    """Those whom it does not serve."""

    def test_others_of_the_same_user(self) -> None:
        """A process beside the command, and the one that runs the broker."""
        other = self.start()
        self.assertEqual(other.ask(self.socket, "prove", audience=ORDERS)["error"], "not_yours")
        ours = socket.socket(socket.AF_UNIX)
        self.addCleanup(ours.close)
        ours.connect(str(self.socket))
        ours.sendall(b'{"op":"standing"}\n')
        self.assertEqual(decode(ours.recv(LINE_LIMIT))["error"], "not_yours")

    def test_before_its_command_is_known(self) -> None:
        """Nobody is served."""
        waiting = self.served.serve(None, name="waiting")
        answer = self.asker.ask(waiting.resident.folder / SOCKET, "standing")
        self.assertEqual(answer["error"], "not_yours")


class NestedTests(ServiceTestCase):
    """Identities below the first."""

    def test_the_grandchild_is_not_its_parent(self) -> None:
        """Its process gets the whole chain at its own socket, and nothing at its parent's."""
        asker = Asker.start("sh", "-c", '"$@"; :', "sh")
        self.addCleanup(asker.stop)
        asker.ask(self.socket, "standing")  # it runs
        outer = self.served.serve(asker, name="outer")
        signer = self.served.gateway.child(outer.resident.signer, "migrator")
        broker = self.served.broker
        inner = self.served.loop.run(broker.serve(signer, {}, outer.resident), 20.0)
        attach(inner.resident, asker.inner)
        answer = asker.ask(inner.resident.folder / SOCKET, "standing")
        self.assertEqual(answer["path"], "alice / outer / migrator")
        answer = asker.ask(outer.resident.folder / SOCKET, "prove", audience=ORDERS)
        self.assertEqual(answer["error"], "not_yours")

    def serve(self, on: str = "lease", **changes: Any) -> dict[str, Any]:
        """Have the planner delegate, and hold the child by a connection."""
        return self.ask("serve", on=on, terms=self.terms(**changes), accounts={})

    def test_a_child_lives_as_long_as_its_connection(self) -> None:
        """Then it is gone, with its folder, and the gateway is told if it was used."""
        answer = self.serve()
        folder = Path(answer["environment"]["HOOPGW_BROKER"]).parent
        self.assertTrue(folder.is_dir())
        self.assertEqual(answer["standing"]["path"], "alice / planner / migrator")
        self.ask("hang up", on="lease")
        wait_until("the child's end", lambda: not folder.exists())
        wait_until("no children", lambda: not self.planner.resident.children)
        self.assertEqual(self.served.ended, [])

    def test_only_a_process_of_its_own_is_attached(self) -> None:
        """Not init, not the asking one, not one beside it; and only once."""
        other = self.start()
        other.ask(self.socket, "standing")
        self.serve()
        for pid in (1, self.asker.process.pid, other.process.pid, 2**30):
            answer = self.ask("attach", on="lease", pid=pid)
            self.assertEqual(answer["error"], "not_yours", pid)
        started = self.ask("start")["pid"]
        self.assertEqual(self.ask("attach", on="lease", pid=started), {})
        self.assertEqual(self.ask("attach", on="lease", pid=started)["error"], "bad_request")

    def test_wider_longer_deeper(self) -> None:
        """Refused, and nothing is left of it."""
        for code, change in (
            ("not_in_caps", {"caps": [{"target": "billing", "actions": ["Postgres::read"]}]}),
            ("not_in_caps", {"caps": [{"target": "orders", "actions": ["*"]}]}),
            ("outlives", {"expires": NOW + 1801.0}),
            ("bad_request", {"name": "Alice"}),
            ("bad_request", {"name": "a~b"}),
            ("bad_request", {"kind": "person"}),
        ):
            self.assertEqual(self.serve(**change)["error"], code, change)
        self.assertEqual(len(list(self.served.broker.folder.iterdir())), 1)

    def test_never_isolated_by_its_own_word(self) -> None:
        """The broker knows that they are of one user."""
        self.assertFalse(self.serve(isolated=True)["standing"]["isolated"])

    def test_not_too_many(self) -> None:
        """A limit, named."""
        for number in range(CHILDREN_LIMIT):
            self.assertIn("standing", self.serve(on=str(number), name=f"c{number}"))
        self.assertEqual(self.serve(on="more", name="more")["error"], "too_deep")

    def test_the_end_of_the_parent_is_theirs(self) -> None:
        """All below go, those that were used are told."""
        self.serve()
        self.ask("prove", audience=ORDERS)
        loop, broker = self.served.loop, self.served.broker
        loop.run(broker.end(self.planner.resident), 20.0)
        self.assertEqual(list(broker.folder.iterdir()), [])
        names = [signer.terms.name for signer in self.served.ended]
        self.assertEqual(names, ["planner"])
        self.assertEqual(self.ask("standing")["error"], "unreachable")


class FloodTests(ServiceTestCase):
    """Whoever asks too much."""

    def test_requests(self) -> None:
        """After a burst it is told to slow down; another identity is not hurt."""
        other = self.start()
        planner = self.served.serve(other, name="other")
        codes = {self.ask("standing", on="c").get("error") for _ in range(400)}
        self.assertEqual(codes, {None, "slow_down"})
        answer = other.ask(planner.resident.folder / SOCKET, "standing")
        self.assertEqual(answer["path"], "alice / other")

    def test_connections(self) -> None:
        """More than so many at once are turned away; when they go, others come."""
        made = [socket.socket(socket.AF_UNIX) for _ in range(CONNECTIONS_LIMIT + 20)]
        for each in made:
            self.addCleanup(each.close)
            each.settimeout(60)
            each.connect(str(self.socket))
        self.assertEqual(decode(made[-1].recv(LINE_LIMIT))["error"], "slow_down")
        for each in made:
            each.close()
        wait_until("room again", lambda: "path" in self.ask("standing"))

    def test_a_line_without_end(self) -> None:
        """The connection ends; the broker does not keep it."""
        made = socket.socket(socket.AF_UNIX)
        self.addCleanup(made.close)
        made.settimeout(60)
        made.connect(str(self.socket))
        with self.assertRaises(OSError):
            for _ in range(1000):
                made.sendall(b"x" * LINE_LIMIT)
        self.assertEqual(self.ask("standing")["path"], "alice / planner")
