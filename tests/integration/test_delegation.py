"""Alice starts a planner, it a migrator, and that one a client: who it is, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import define, field
from joserfc.jwk import OKPKey

from hoopgw.events import Budget, Cap
from hoopgw.identity.hops import HopClaims, mint_hop, node_id, prove
from hoopgw.identity.jose import parse
from hoopgw.identity.tokens import target_audience
from tests.integration.protocol_clients import CLIENTS, ProtocolClient, Running
from tests.support.gateway import GatewayRig
from tests.support.processes import SOON, wait_until

"""Seconds within which a revocation ends what lives."""


@define(eq=False)
class Story:
    """One log-in, and what was delegated from it."""

    rig: GatewayRig
    client: ProtocolClient
    keys: dict[str, OKPKey] = field(factory=dict)
    chains: dict[str, str] = field(factory=dict)
    running: list[Running] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.keys["alice"] = OKPKey.generate_key("Ed25519")
        self.chains["alice"] = self.rig.token(None, key=self.keys["alice"])

    def delegate(self, parent: str, child: str, **claims: Any) -> None:
        """Let a parent mint a hop for a child, offline."""
        self.keys[child] = OKPKey.generate_key("Ed25519")
        values = {"name": child, "expires": time.time() + 300, **claims}
        self.chains[child] = mint_hop(
            self.chains[parent],
            self.keys[parent],
            self.keys[child],
            HopClaims(**values),
            time.time(),
        )

    def password(self, who: str) -> str:
        """Return a password of one of them: its chain with a new pop."""
        audience = target_audience(self.client.target)
        return prove(self.chains[who], self.keys[who], audience, time.time())

    def begin(self, start: Callable[[GatewayRig, str], Running], who: str) -> Running:
        """Start something as one of them; it is killed at the end at the latest."""
        running = start(self.rig, self.password(who))
        self.running.append(running)
        return running

    @property
    def login(self) -> str:
        """The log-in that all of it began with."""
        return str(parse(self.chains["alice"]).claims["sid"])

    def node(self, *names: str) -> str:
        """Return the delegation that these names lead to."""
        node = self.login
        for name in names:
            node = node_id(node, self.keys[name].thumbprint())
        return node

    def path(self, *names: str) -> str:
        """Return how lists show it."""
        shown = [f"{name}#{self.node(*names[: n + 1])[:8]}" for n, name in enumerate(names)]
        return "/".join(["alice", *shown])

    def live(self) -> list[dict[str, Any]]:
        """Return its live sessions."""
        found = self.rig.api("GET", "/v1/sessions?live=true&limit=1000")["sessions"]
        return [session for session in found if session["login"] == self.login]

    def waiting(self) -> list[dict[str, Any]]:
        """Return its requests that wait for people."""
        found = self.rig.api("GET", "/v1/requests?state=requested&limit=1000")["requests"]
        sessions = {session["id"] for session in self.live()}
        return [request for request in found if request["session"] in sessions]


@pytest.fixture(params=CLIENTS, ids=lambda client: client.name)
def story(request: pytest.FixtureRequest, rig: GatewayRig) -> Iterator[Story]:
    """Give a person with a planner, a migrator below it, and another agent beside them."""
    client: ProtocolClient = request.param
    if not client.is_there():
        pytest.skip(f"make test installs {client.name}")
    made = Story(rig, client)
    made.delegate("alice", "planner", purpose="ticket 17", isolated=True)
    made.delegate(
        "planner",
        "migrator",
        caps=(Cap(target=client.target, actions=frozenset({"*"})),),
    )
    made.delegate("alice", "reporter")
    yield made
    for running in made.running:
        running.kill()


def test_a_subtree_ends_within_two_seconds(story: Story) -> None:
    """Live operations, those that wait for people, and log-ins; and nothing beside it."""
    rig, client = story.rig, story.client
    busy = story.begin(client.busy, "migrator")
    held = story.begin(client.held, "migrator")
    beside = story.begin(client.busy, "reporter")
    node, path = story.node("planner"), story.path("planner", "migrator")
    wait_until("three sessions live", lambda: len(story.live()) == 3)
    wait_until("the request waits", lambda: bool(story.waiting()))
    [request] = story.waiting()
    assert request["principal"]["path"] == path

    rig.api("POST", f"/v1/nodes/{node}/revoke", {}, name="alice", groups=("developers",))
    for running in (busy, held):
        said = running.ended(SOON)
        assert "the delegation to planner was revoked by alice" in said, said

    settled = rig.api("GET", f"/v1/requests/{request['id']}")
    assert settled["state"] == "withdrawn"
    assert "the delegation to planner was revoked by alice" in settled["note"]
    for who in ("planner", "migrator"):
        refused = client.refusal(rig, story.password(who))
        assert refused is not None
        assert "password authentication failed" in refused
    assert client.refusal(rig, story.password("reporter")) is None
    assert client.refusal(rig, story.password("alice")) is None
    assert {session["path"] for session in story.live()} >= {story.path("reporter")}
    beside.kill()


def test_records_show_the_chain(story: Story) -> None:
    """Its nodes, and what it was made for, as its parent said."""
    assert story.client.refusal(story.rig, story.password("migrator")) is None
    path = story.path("planner", "migrator")

    def recorded() -> list[dict[str, Any]]:
        found = story.rig.api("GET", "/v1/sessions?live=false&limit=1000")["sessions"]
        return [session for session in found if session["path"] == path]

    wait_until("the session is recorded", lambda: bool(recorded()))
    [session] = recorded()
    assert session["purpose"] == "planner: ticket 17"
    replayed = story.rig.api("GET", f"/v1/sessions/{session['id']}/replay")["lines"]
    texts = [line["text"] for line in replayed]
    assert texts[0].startswith(f"{path} opened {story.client.target}")
    assert "(chain, " in texts[0]
    assert texts[1] == "made for, as their parents say: planner: ticket 17"
    records = story.rig.api("GET", f"/v1/sessions/{session['id']}/records")["records"]
    started = next(record for record in records if record["kind"] == "session.started")
    assert started["proved"] is True
    assert [hop.get("node", "") for hop in started["chain"]] == [
        "",
        story.node("planner"),
        story.node("planner", "migrator"),
    ]


def test_a_password_is_good_once_and_for_one_target(story: Story) -> None:
    """And only as a whole."""
    rig, client = story.rig, story.client
    password = story.password("migrator")
    assert client.refusal(rig, password) is None
    again = client.refusal(rig, password)
    assert again is not None
    assert "new password for each connection" in again
    for bad in (
        prove(story.chains["migrator"], story.keys["migrator"], "hoopgw", time.time()),
        story.chains["migrator"],
        story.password("migrator").replace("~", "~" + story.chains["reporter"].split("~")[1] + "~"),
    ):
        assert client.refusal(rig, bad) is not None


def test_a_budget_counts_for_the_whole_subtree(story: Story) -> None:
    """Each session on its own, and each child, is charged to who has the budget."""
    rig, client = story.rig, story.client
    story.delegate("alice", "frugal", budget=Budget(operations=2))
    story.delegate("frugal", "child")
    story.delegate("frugal", "twin")
    assert client.refusal(rig, story.password("child")) is None
    assert client.refusal(rig, story.password("frugal")) is None
    for who in ("twin", "child", "frugal"):
        said = client.refusal(rig, story.password(who))
        assert said is not None
        assert "the budget of frugal is used up: 2 operations" in said
    assert client.refusal(rig, story.password("planner")) is None


def test_caps_hold_whatever_was_promised(story: Story) -> None:
    """A child of one that may reach another target only does not reach this one."""
    rig, client = story.rig, story.client
    elsewhere = (Cap(target="elsewhere", actions=frozenset({"*"})),)
    everything = (Cap(target="*", actions=frozenset({"*"})),)
    story.delegate("alice", "narrow", caps=elsewhere)
    story.delegate("narrow", "greedy", caps=everything)
    for who in ("narrow", "greedy"):
        said = client.refusal(rig, story.password(who))
        assert said is not None
        assert "the caps that alice gave narrow do not cover" in said
