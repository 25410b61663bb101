"""In whose name the agent asks a cluster."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ConfigError, LinkError
from hoopgw.events import Hop, Node, Principal
from hoopgw.spi import AgentContext, AgentTarget
from hoopgw_kubernetes.agent import GROUPS_LIMIT, make_target_leg


async def _nothing() -> bytes:
    return b"token"


def target(**options: Any) -> AgentTarget:
    """Return a target with two accounts."""
    return AgentTarget(
        name="blue",
        protocol="kubernetes",
        address="127.0.0.1:6443",
        accounts={"deployer": _nothing, "caller": _nothing},
        options=options,
    )


def principal(name: str = "alice", groups: tuple[str, ...] = ("b", "a")) -> Principal:
    """Return a person with an agent."""
    root = Hop(id=f"corp|{name}", name=name, kind="person", groups=frozenset(groups))
    child = Hop(id=f"corp|{name}~planner", name="planner", kind="agent")
    return Principal(chain=(root, child), nodes=(Node(id="n"),), session="s", expires=1.0)


class SaidTests(SynchronousTestCase):
    """The fields."""

    def setUp(self) -> None:
        clock = Clock()
        self.leg = make_target_leg(AgentContext(reactor=clock, clock=clock))

    def test_the_person_and_the_chain(self) -> None:
        asked = evolve(target(impersonate=["caller"]), caller=principal())
        self.assertEqual(self.leg.said_of(asked, "deployer"), ())
        self.assertEqual(
            self.leg.said_of(asked, "caller"),
            (
                (b"Impersonate-User", b"hoopgw:corp|alice"),
                (b"Impersonate-Group", b"hoopgw:a"),
                (b"Impersonate-Group", b"hoopgw:b"),
                (b"Impersonate-Extra-Hoopgw-Chain", b"corp|alice"),
                (b"Impersonate-Extra-Hoopgw-Chain", b"corp|alice~planner"),
            ),
        )

    def test_own_prefixes(self) -> None:
        options = {"impersonate": ["caller"], "user_prefix": "gw-", "group_prefix": "gwg-"}
        asked = evolve(target(**options), caller=principal(groups=("system:masters",)))
        said = dict(self.leg.said_of(asked, "caller")[:2])
        self.assertEqual(said[b"Impersonate-User"], b"gw-corp|alice")
        self.assertEqual(said[b"Impersonate-Group"], b"gwg-system:masters")

    def test_whom_it_does_not_name(self) -> None:
        asking = target(impersonate=["caller"])
        many = tuple(map(str, range(GROUPS_LIMIT + 1)))
        for caller in (None, principal("a\r\nImpersonate-User: admin"), principal(groups=many)):
            with self.assertRaises(LinkError):
                self.leg.said_of(evolve(asking, caller=caller), "caller")

    def test_options_that_make_no_sense(self) -> None:
        for options in (
            {"impersonate": ["nobody"]},
            {"impersonate": "caller"},
            {"user_prefix": ""},
            {"user_prefix": "system:"},
            {"group_prefix": "system:serviceaccount:"},
            {"group_prefix": 3},
        ):
            with self.subTest(options=options), self.assertRaises(ConfigError):
                self.leg.check(target(**options))
        self.leg.check(target(impersonate=["caller"], user_prefix="x"))
