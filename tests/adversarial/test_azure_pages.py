"""Attacks on how much of a list may be shown, by asking for it in parts: real control, two workers.

Each attack is also made where the limit is for one answer only: there it gets far more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Final

from attrs import evolve

from hoopgw.control.budgets import ControlBudgets
from hoopgw.policy.decision import Allow
from hoopgw.recording.records import Result
from hoopgw_azure.exports import WINDOW
from tests.adversarial.azure_gateway import ALLOW, Client, Gateway
from tests.azure.world import SUBSCRIPTION
from tests.control.world import WorldCase

GROUPS: Final = f"/subscriptions/{SUBSCRIPTION}/resourcegroups"
VERSION: Final = "api-version=2021-04-01"
PAGES: Final = 8
"""Pages of five that an attack asks for, where ten items may be shown."""


def by_top(world: PagesCase) -> Iterator[tuple[Client, str]]:
    """Ask for small pages, each by a number that the client makes up."""
    client = world.first.connect()
    for page in range(PAGES):
        yield client, f"{GROUPS}?{VERSION}&$top=5&$skip={page * 5}"


def by_token(world: PagesCase) -> Iterator[tuple[Client, str]]:
    """Go on by tokens, as `nextLink` has them, and made up ones."""
    client = world.first.connect()
    for page in range(PAGES):
        yield client, f"{GROUPS}?{VERSION}&%24skiptoken=forged{page}&marker={page}"


def by_filter(world: PagesCase) -> Iterator[tuple[Client, str]]:
    """Cut the list into parts that are no pages, and spell its path anew each time."""
    client = world.first.connect()
    for page in range(PAGES):
        path = GROUPS if page % 2 else GROUPS.replace("resourcegroups", "resourceGroups")
        yield client, f"{path}?{VERSION}&$filter=name%20ge%20%27{page}%27"


def by_repeating(world: PagesCase) -> Iterator[tuple[Client, str]]:
    """Ask the same again and again: the list may have moved on."""
    client = world.first.connect()
    for _ in range(PAGES):
        yield client, f"{GROUPS}?{VERSION}"


def by_letters(world: PagesCase) -> Iterator[tuple[Client, str]]:
    """Spell a group's name in capitals and small letters that have to be encoded."""
    client = world.first.connect()
    for page in range(PAGES):
        name = "".join(
            small if page >> at & 1 else large
            for at, (small, large) in enumerate((("%C3%BC", "%C3%9C"), ("%C3%A9", "%C3%89")))
        )
        yield client, f"{GROUPS}/{name}/resources?{VERSION}"


def by_connections(world: PagesCase) -> Iterator[tuple[Client, str]]:
    """Take a new connection for each page, at one worker and the other."""
    for page in range(PAGES):
        yield (world.first, world.second)[page % 2].connect(), f"{GROUPS}?{VERSION}&$skip={page}"


def by_sessions(world: PagesCase) -> Iterator[tuple[Client, str]]:
    """Let each session end before the next page."""
    for page in range(PAGES):
        client = world.first.connect()
        yield client, f"{GROUPS}?{VERSION}&$skip={page}"
        client.leave()
        world.clock.advance(61.0)
        world.carry()


class PagesCase(WorldCase):
    """Two workers and control; a list of which policy lets ten items be shown."""

    def begin_workers(self, window: int) -> None:
        """Start both, with limits over so many seconds."""
        few = evolve(ALLOW, decision=Allow(max_rows=10))
        self.first, self.second = (
            Gateway(
                lambda operation: ALLOW if operation.action == "connect" else few,
                clock=self.clock,
                budgets=ControlBudgets(self.worker(name).client, self.clock.seconds),
                options={"window": window},
            )
            for name in ("w1", "w2")
        )

    def page(self, client: Client, path: str, *, items: int = 5, size: int = 10) -> bytes:
        """Ask for a page; return what the client got."""
        world = client.world
        client.ask("GET", path)
        world.target.answer_json({"value": [{"tags": "x" * size}] * items})
        for _ in range(10):
            self.carry()
            world.clock.advance(0)
        return client.wire.take()

    def shown(self, attack: Callable[[PagesCase], Iterator[tuple[Client, str]]]) -> int:
        """Return how many items an attack got."""
        return sum(self.page(client, path).count(b"tags") for client, path in attack(self))


class PagesTests(PagesCase):
    """Whoever may read some may not take all, in whatever parts."""

    ATTACKS = (
        *(by_top, by_token, by_filter, by_letters),
        *(by_repeating, by_connections, by_sessions),
    )

    def test_bites(self) -> None:
        """With a limit of single answers only, each attack gets everything."""
        self.begin_workers(0)
        for attack in self.ATTACKS:
            with self.subTest(attack=attack.__name__):
                self.assertEqual(self.shown(attack), 5 * PAGES)

    def test_gets_no_more(self) -> None:
        """Ten items, then a refusal that says the limit, and what does not help."""
        for attack in self.ATTACKS:
            with self.subTest(attack=attack.__name__):
                self.clock.advance(2 * WINDOW + 1)
                self.carry()
                self.begin_workers(WINDOW)
                self.assertEqual(self.shown(attack), 10)

    def test_the_refusal(self) -> None:
        """As ARM says its own, for people and for programs."""
        self.begin_workers(WINDOW)
        client = self.first.connect()
        for page in range(3):
            got = self.page(client, f"{GROUPS}?{VERSION}&$skip={page}")
        self.assertIn(b" 403 ", got)
        error = json.loads(got.partition(b"\r\n\r\n")[2])["error"]
        self.assertEqual(error["code"], "AuthorizationFailed")
        self.assertIn("10 items in 3600 seconds, of all its pages together", error["message"])
        info = error["additionalInfo"][0]["info"]
        self.assertEqual(info, {"code": "export_limit", "window": WINDOW, "items": 10})
        outcomes = [each.outcome for each in self.first.recorder.of(Result)]
        self.assertTrue(outcomes[-1].startswith("CUT: no more of this list"), outcomes)
        self.assertEqual(outcomes[:-1], ["200 OK"] * 2)

    def test_what_is_left_can_be_had(self) -> None:
        """A page that would be too much shows nothing, and takes nothing."""
        self.begin_workers(WINDOW)
        client = self.first.connect()
        sizes = [(6, 6), (5, 0), (4, 4), (1, 0)]
        for size, shown in sizes:
            got = self.page(client, f"{GROUPS}?{VERSION}", items=size)
            self.assertEqual(got.count(b"tags"), shown, size)

    def test_others_are_not_held_to_it(self) -> None:
        """Nor errors, nor what is no part of that list."""
        self.begin_workers(WINDOW)
        client = self.first.connect()
        for _ in range(4):
            self.page(client, f"{GROUPS}?{VERSION}")
        self.assertIn(b" 403 ", self.page(client, f"{GROUPS}?{VERSION}", items=1))
        self.assertIn(b" 200 ", self.page(client, f"{GROUPS}/shop/resources?{VERSION}"))
        self.assertIn(b" 200 ", self.page(client, f"{GROUPS}?{VERSION}", items=0))
        client.ask("GET", f"{GROUPS}?{VERSION}")
        client.world.target.answer_json({"value": [1] * 20}, "404 Not Found")
        self.carry()
        self.assertIn(b" 404 ", client.wire.take())
        bob = self.first.connect()
        bob.ask("GET", f"{GROUPS}?{VERSION}", token="bob")
        bob.world.target.answer_json({"value": [1] * 10})
        for _ in range(5):
            self.carry()
            self.clock.advance(0)
        self.assertIn(b" 200 ", bob.wire.take())

    def test_without_control_nothing_more(self) -> None:
        """What was shown cannot be known then."""
        self.begin_workers(WINDOW)
        client = self.first.connect()
        self.assertEqual(self.page(client, f"{GROUPS}?{VERSION}").count(b"tags"), 5)
        self.kill()
        got = self.page(client, f"{GROUPS}?{VERSION}")
        self.assertNotIn(b"tags", got)
        self.assertIn(b" 503 ", got)

    def test_a_client_that_leaves_while_it_is_paid_for(self) -> None:
        """It is let go of, and what was taken for it and not shown goes back."""
        self.begin_workers(WINDOW)
        client = self.first.connect()
        client.ask("GET", f"{GROUPS}?{VERSION}")
        client.world.target.answer_json({"value": [{"tags": "x"}] * 9})
        client.leave()
        self.carry()
        self.clock.advance(61.0)
        self.carry()
        client = self.second.connect()
        got = self.page(client, f"{GROUPS}?{VERSION}", items=10)
        self.assertEqual(got.count(b"tags"), 10)
