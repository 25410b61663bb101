"""Tests for `hoopgw.control.keys`: rotations with workers and agents of the test, and a clock."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, succeed

from hoopgw.config.gateway import GatewayPaths
from hoopgw.control.fleet import Fleet
from hoopgw.control.keys import KeyKeeper
from hoopgw.control.token_keys import TokenKeys
from hoopgw.control.trust import WorkerTrust
from hoopgw.errors import ConfigError, UnavailableError
from hoopgw.identity.key_kinds import KINDS
from hoopgw.identity.keybook import KeyBook
from hoopgw.identity.keyfiles import create_state, load_signing_key
from hoopgw.identity.tokens import TokenSigner, TokenVerifier
from hoopgw.store.rows import AgentRow
from tests.control.world import URL, WorldCase
from tests.store.values import KEY

AUTOMATIC = ("callers", "ssh-users", "token")
"""What only workers must know."""


@define(eq=False)
class FakeWorker:
    """Takes what it is told when the test says so."""

    worker: str
    slow: bool = False
    told: list[tuple[str, Any]] = field(factory=list)
    waiting: list[Deferred[bool]] = field(factory=list)

    def tell(self, name: str, body: Any) -> None:
        self.told.append((name, body))

    async def ask(self, name: str, body: Any) -> Any:
        """Have no answer."""
        raise UnavailableError(name)

    async def call(self, name: str, body: Any) -> bool:
        self.told.append((name, body))
        answer: Deferred[bool] = Deferred() if self.slow else succeed(True)
        if self.slow:
            self.waiting.append(answer)
        return await answer

    def take(self) -> None:
        """Answer all that waits."""
        waiting, self.waiting = self.waiting, []
        for answer in waiting:
            answer.callback(True)

    @property
    def trust(self) -> WorkerTrust:
        """What it was told last."""
        return WorkerTrust.from_body([body for name, body in self.told if name == "trust"][-1])


class KeeperCase(WorldCase):
    """All of a gateway's keys, in a state folder."""

    def setUp(self) -> None:
        super().setUp()
        self.paths = GatewayPaths(self.path.parent / "keys-state")
        self.path.parent.mkdir(exist_ok=True)
        others = ["*.vault.azure.net"]
        began = datetime.fromtimestamp(1000.0, UTC)
        create_state(self.paths, ["localhost"], began, others)
        self.paths.store_key.write_bytes(KEY)
        self.book = KeyBook(self.paths, ["localhost"], others)
        self.hooks: list[str] = []
        self.start()

    def start(self) -> KeyKeeper:
        """Start control, as after a crash."""
        signer = TokenSigner(load_signing_key(self.paths.token_key), URL)
        self.fleet = Fleet(self.clock.seconds)
        tokens = TokenKeys(signer, TokenVerifier(signer.jwks, URL), self.fleet)
        self.keeper = KeyKeeper(
            self.book,
            self.store,
            tokens,
            self.fleet,
            self.clock.seconds,
            URL,
            lambda: None,
            {name: partial(self.hooks.append, name) for name in ("listeners", "link")},
        )
        return self.keeper

    def join(self, name: str, *, slow: bool = False) -> FakeWorker:
        """Connect a worker."""
        worker = FakeWorker(name, slow)
        self.fleet.joined(worker)
        return worker

    def enrol(self, name: str, trust: str = "") -> None:
        """Enrol an agent, which says that it trusts what it is said to."""
        self.store.put_agent(AgentRow(name=name, serial="ab", enrolled=0.0, expires=1e6))
        self.say(name, trust)

    def say(self, name: str, trust: str) -> None:
        """Let a worker report an agent."""
        reporter = FakeWorker("reporter")
        self.fleet.joined(reporter)
        agent = {"name": name, "connected": bool(trust), "targets": [], "trust": trust}
        self.fleet.report_agents(reporter, [agent])

    def fingerprint(self, name: str) -> str:
        return self.book.describe(KINDS[name]).fingerprint

    def states(self, name: str) -> list[str]:
        return [row["state"] for row in self.keeper.describe() if row["key"] == name]


class WorkersTests(KeeperCase):
    """Keys that workers verify with."""

    def test_all_know_it_before_it_signs(self) -> None:
        """Told to each worker first; it signs when the last has answered."""
        for name in AUTOMATIC:
            with self.subTest(name):
                self.setUp()
                quick, slow = self.join("w1"), self.join("w2", slow=True)
                slow.take()
                before = self.fingerprint(name)
                self.assertTrue(self.keeper.rotate(name))
                self.assertEqual(self.fingerprint(name), before)
                self.assertEqual(self.states(name), ["signs", "next"])
                self.keeper.sweep()
                self.assertEqual(self.fingerprint(name), before)
                slow.take()
                self.keeper.sweep()
                self.assertNotEqual(self.fingerprint(name), before)
                self.assertEqual(self.states(name), ["signs", "old"])
                self.assertTrue(quick.told)

    def test_the_old_one_goes(self) -> None:
        """When the last thing that it signed has ended, and not before."""
        for name in AUTOMATIC:
            with self.subTest(name):
                self.setUp()
                self.keeper.rotate(name)
                self.keeper.sweep()
                self.assertEqual(self.states(name), ["signs", "old"])
                self.clock.advance(KINDS[name].overlap - 1)
                self.keeper.sweep()
                self.assertEqual(self.states(name), ["signs", "old"])
                self.clock.advance(2)
                self.keeper.sweep()
                self.assertEqual(self.states(name), ["signs"])

    def test_a_worker_that_comes_meanwhile(self) -> None:
        """It is told at once, and is waited for as the others are."""
        self.join("w1", slow=True)
        self.keeper.rotate("callers")
        late = self.join("w2", slow=True)
        self.assertEqual(len(late.trust.callers), 2)
        self.assertEqual(self.keeper.waits_for(KINDS["callers"]), ["worker w1", "worker w2"])

    def test_told_what_is_accepted(self) -> None:
        """The next one, then besides the old one; in the end neither."""
        worker = self.join("w1")
        first = worker.trust.callers
        self.keeper.rotate("callers")
        self.keeper.sweep()
        self.assertEqual(worker.trust.callers[1:], first)
        self.keeper.retire("callers")
        self.assertEqual(len(worker.trust.callers), 1)
        self.assertNotEqual(worker.trust.callers, first)
        self.assertEqual(len(worker.trust.ssh_user_authorities), 1)

    def test_no_private_part_is_told(self) -> None:
        worker = self.join("w1")
        for name in KINDS:
            if name != "log":
                self.keeper.rotate(name)
        told = repr(worker.told)
        self.assertNotIn("PRIVATE", told)
        self.assertNotIn("'d':", told)


class AgentsTests(KeeperCase):
    """Keys that agents verify with."""

    def test_all_know_it_before_it_signs(self) -> None:
        """Each enrolled agent has to say so; one that is away is waited for."""
        for name in ("ticket", "link"):
            with self.subTest(name):
                self.setUp()
                self.enrol("a1", self.keeper.agents.name)
                self.enrol("a2")
                self.keeper.rotate(name)
                self.assertEqual(len(self.keeper.waits_for(KINDS[name])), 2)
                self.say("a1", self.keeper.agents.name)
                self.keeper.sweep()
                self.assertEqual(self.states(name), ["signs", "next"])
                self.say("a2", self.keeper.agents.name)
                self.keeper.sweep()
                self.assertEqual(self.states(name), ["signs", "next"])  # a1 is not reported now
                for agent in ("a1", "a2"):
                    self.store.put_agent(evolve(self.agent(agent), revoked=5.0))
                self.keeper.sweep()
                self.assertEqual(self.states(name), ["signs", "old"])

    def agent(self, name: str) -> AgentRow:
        row = self.store.agent(name)
        assert row is not None
        return row

    def test_what_agents_depend_on_is_not_retired(self) -> None:
        """While one has only what the old CA has issued, unless its operator wants that."""
        self.enrol("a1")
        self.keeper.rotate("link")
        self.say("a1", self.keeper.agents.name)
        self.keeper.sweep()
        with self.assertRaisesRegex(UnavailableError, "--force"):
            self.keeper.retire("link")
        self.say("a1", self.keeper.agents.name)
        self.assertEqual(self.keeper.retire("link"), 1)
        self.keeper.rotate("ticket")
        self.say("a1", self.keeper.agents.name)
        self.keeper.sweep()
        self.assertEqual(self.keeper.retire("ticket", force=True), 1)

    def test_one_that_must_join_again_is_not_waited_for(self) -> None:
        self.enrol("a1")
        self.keeper.rotate("ticket")
        self.assertEqual(self.states("ticket"), ["signs", "next"])
        self.clock.advance(1e6)
        self.keeper.sweep()
        self.assertEqual(self.states("ticket"), ["signs", "old"])

    def test_what_they_are_told(self) -> None:
        """Both CAs and both keys, what issues and signs first; its name changes each time."""
        names = [self.keeper.agents.name]
        first = self.keeper.agents
        self.enrol("a1")
        self.keeper.rotate("link")
        names.append(self.keeper.agents.name)
        self.assertEqual(self.keeper.agents.link[0], first.link[0])
        self.assertEqual(len(self.keeper.agents.link), 2)
        self.say("a1", names[-1])
        self.keeper.sweep()
        names.append(self.keeper.agents.name)
        self.assertEqual(self.keeper.agents.link[1], first.link[0])
        self.assertEqual(self.keeper.agents.issuing.certificate, self.keeper.agents.link[0])
        self.assertEqual(self.hooks, ["link"])
        self.keeper.retire("link", force=True)
        names.append(self.keeper.agents.name)
        self.assertEqual(len(set(names)), 4)


class OperatorTests(KeeperCase):
    """Keys that callers pin, and what an operator may ask for."""

    def test_callers_are_the_operators_to_know(self) -> None:
        """It signs after the operator's word, and not before."""
        for name in ("listeners", "ssh-hosts"):
            with self.subTest(name):
                self.setUp()
                waits = self.keeper.rotate(name)
                self.assertIn("--switch", waits[0])
                self.clock.advance(1e6)
                self.keeper.sweep()
                self.assertEqual(self.states(name), ["signs", "next"])
                self.assertEqual(self.keeper.rotate(name, vouched=True), [])
                self.assertEqual(self.states(name), ["signs", "old"])
        self.assertEqual(len(self.keeper.accepted_keys("ssh-hosts")), 2)

    def test_the_listeners_hook(self) -> None:
        self.keeper.rotate("listeners", vouched=True)
        self.assertEqual(self.hooks, ["listeners"])

    def test_secrets_at_once(self) -> None:
        """There is nobody to tell; the store is sealed anew first."""
        self.store.put_agent(AgentRow(name="a1", serial="ab", enrolled=0.0, expires=1e6))
        for name in ("mask", "store"):
            before = self.fingerprint(name)
            self.assertEqual(self.keeper.rotate(name), [])
            self.assertNotEqual(self.fingerprint(name), before)
            self.assertEqual(self.states(name), ["signs"])
        self.assertIsNotNone(self.store.agent("a1"))
        self.assertEqual(self.store.tampered, 0)

    def test_refused(self) -> None:
        """A key that is none, the log's, and a second rotation under way."""
        for name in ("", "root", "log", "../token"):
            self.assertRaises(UnavailableError, self.keeper.rotate, name)
            self.assertRaises(UnavailableError, self.keeper.retire, name)
        self.keeper.rotate("listeners")
        with self.assertRaisesRegex(UnavailableError, "under way"):
            self.keeper.rotate("listeners")

    def test_bounded(self) -> None:
        """Old keys that are accepted are few, however often one rotates."""
        for _ in range(3):
            self.keeper.rotate("callers")
        with self.assertRaisesRegex(UnavailableError, "3 old keys"):
            self.keeper.rotate("callers")
        self.assertEqual(self.keeper.retire("callers"), 3)
        self.keeper.rotate("callers")

    def test_reuse_is_refused_at_the_start(self) -> None:
        self.paths.token_key.write_bytes(self.paths.ticket_key.read_bytes())
        with self.assertRaisesRegex(ConfigError, "is the same key as"):
            self.start()


class CrashTests(KeeperCase):
    """Whatever stops control, the next start goes on."""

    def test_while_it_is_announced(self) -> None:
        self.enrol("a1")
        self.keeper.rotate("link")
        ahead = self.book.describe(KINDS["link"], ahead=True)
        self.start()
        self.assertEqual(len(self.keeper.agents.link), 2)
        self.say("a1", self.keeper.agents.name)
        self.keeper.sweep()
        self.assertEqual(self.fingerprint("link"), ahead.fingerprint)

    def test_at_every_step_of_the_switch(self) -> None:
        """Before a file is moved, between two, and behind: in the end all is as it should be."""
        moves = [".crt", ".key"]
        for done in range(3):
            with self.subTest(done=done):
                self.setUp()
                self.enrol("a1")
                self.keeper.rotate("link")
                ahead = self.book.describe(KINDS["link"], ahead=True).fingerprint
                rotations = self.book.load()
                rotations["link"] = evolve(rotations["link"], switching=True)
                self.book.save(rotations)
                for suffix in moves[:done]:
                    self.book.path(KINDS["link"], ahead=True, suffix=suffix).rename(
                        self.book.path(KINDS["link"], suffix=suffix)
                    )
                self.hooks.clear()
                self.start()
                self.assertEqual(self.fingerprint("link"), ahead)
                self.assertEqual(self.hooks, ["link"])
                self.assertFalse(self.book.load()["link"].switching)

    def test_tokens_at_every_step_of_the_switch(self) -> None:
        """The key that was told signs, whether its file was moved or not."""
        for moved in (False, True):
            with self.subTest(moved=moved):
                self.setUp()
                self.join("w1", slow=True)
                self.keeper.rotate("token")
                kind = KINDS["token"]
                ahead = self.book.describe(kind, ahead=True).fingerprint
                rotations = self.book.load()
                rotations["token"] = evolve(rotations["token"], switching=True)
                self.book.save(rotations)
                if moved:
                    self.book.promote(kind)
                keeper = self.start()
                self.assertEqual(keeper._tokens.signer.kid, ahead)
                self.assertEqual(self.fingerprint("token"), ahead)

    def test_what_follows_a_switch_breaks_off(self) -> None:
        """A certificate that could not be issued is issued with the next sweep, and once."""
        failing = [True]

        def issue() -> None:
            self.hooks.append("tried")
            if failing:
                raise ConfigError("the disk is full")

        self.keeper._switched = {"listeners": issue}
        before = self.fingerprint("listeners")
        self.assertRaises(ConfigError, self.keeper.rotate, "listeners", vouched=True)
        self.assertRaises(ConfigError, self.keeper.sweep)
        failing.clear()
        self.keeper.sweep()
        self.keeper.sweep()
        self.assertEqual(self.hooks, ["tried"] * 3)
        self.assertNotEqual(self.fingerprint("listeners"), before)
        self.assertEqual(self.states("listeners"), ["signs", "old"])

    def test_between_the_seals_and_the_key(self) -> None:
        """Rows have the next key's seals, and the present key is still in its place."""
        self.store.put_agent(AgentRow(name="a1", serial="ab", enrolled=0.0, expires=1e6))
        kind = KINDS["store"]
        self.book.announce(kind, datetime.fromtimestamp(1000.0, UTC))
        rotations = self.book.load()
        rotations["store"] = evolve(rotations["store"], announced=1000.0)
        self.book.save(rotations)
        self.store.reseal(self.book.secret(kind, ahead=True))
        self.store.close()
        from hoopgw.control.service import open_store

        self.store = open_store(self.path, self.book)
        self.start().sweep()
        self.assertFalse(self.book.has_next(kind))
        self.assertIsNotNone(self.store.agent("a1"))

    def test_a_next_key_that_is_gone(self) -> None:
        """A rotation without its key is forgotten, and can be begun anew."""
        self.keeper.rotate("ssh-hosts")
        self.book.withdraw(KINDS["ssh-hosts"])
        self.start()
        self.assertEqual(self.states("ssh-hosts"), ["signs"])
        self.keeper.rotate("ssh-hosts")
