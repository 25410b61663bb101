"""The policies of ``conf/policies-ssh``, alone and with commands as clients send them."""

from __future__ import annotations

from functools import cache
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.events import Hop, Operation, Principal
from hoopgw.policy.cases import run_cases, untested
from hoopgw.policy.check import check
from hoopgw.policy.decision import Allow, Deny, Review, Verdict
from hoopgw.policy.explain import explain
from hoopgw.policy.prove import Prover
from hoopgw.policy.queries import read_queries
from hoopgw.policy.sets import PolicySet
from hoopgw.shell.running import facts
from hoopgw.spi import TargetSettings
from hoopgw_ssh.operations import Place, Setting
from tests.policy.world import ROOT

DIRECTORY: Final = ROOT / "conf" / "policies-ssh"
SCHEMAS: Final = {"ssh": (ROOT / "protocols/hoopgw_ssh/schema.cedarschema").read_text("utf-8")}
WEB1: Final = Place(
    TargetSettings(name="web1", protocol="ssh", agent="local", environment="prod"), "deploy"
)


@cache
def policies() -> PolicySet:
    """Return the set."""
    return PolicySet.load(DIRECTORY, SCHEMAS)


def judged(group: str, operation: Operation, *approvals: str) -> Verdict:
    """Return the verdict on an operation of somebody in a group."""
    hop = Hop(id=f"corp|{group}", name=group, kind="person", groups=frozenset({group}))
    principal = Principal(chain=(hop,), session="s", expires=9e9)
    outcome = explain(policies(), principal, operation, 0, frozenset(approvals)).outcome
    assert isinstance(outcome, Verdict)
    return outcome


def command(text: str) -> Operation:
    """Return the operation that a command on ``web1`` is."""
    return WEB1.exec(text.encode(), facts(text.encode()), Setting(), "closed").operation


class ExampleTests(SynchronousTestCase):
    """The files themselves."""

    def test_nothing_is_found(self) -> None:
        """Neither errors nor warnings."""
        self.assertEqual(check(DIRECTORY, SCHEMAS), ())

    def test_all_cases_pass_and_cover_all(self) -> None:
        results = run_cases(policies(), DIRECTORY)
        self.assertEqual([(r.name, r.problems) for r in results if not r.is_passed], [])
        self.assertEqual(untested(policies(), results), ())

    def test_all_queries_are_proved(self) -> None:
        """By the solver, over resources that may be in one another at any depth."""
        prover = Prover(policies())
        asked = read_queries(DIRECTORY / "queries.yaml", policies().schema)
        proofs = [prover.prove(query) for query in asked]
        self.assertEqual([p.query.name for p in proofs if not p.is_proved], [])
        self.assertGreater(len(proofs), 4)


class CommandTests(SynchronousTestCase):
    """What commands come to, from their bytes to the verdict."""

    def test_what_developers_run(self) -> None:
        for text in (
            "ls -l /tmp",
            "/bin/ls",
            "grep error /var/log/shop.log | tail -n 20 | wc -l",
            "cat < /var/log/shop.log",
            "echo new > /srv/shop/releases/CURRENT",
            "systemctl status shop --no-pager",
        ):
            self.assertIsInstance(judged("developers", command(text)).decision, Allow, text)

    def test_what_they_do_not(self) -> None:
        for text in (
            "rm x",
            "ls; rm x",
            "ls $(rm x)",
            "ls | xargs rm",
            "/tmp/ls",
            "./ls",
            "/bin/../tmp/ls",
            "env ls",
            "x=ls; $x",
            "LS_COLORS=x ls",
            "cat < /etc/passwd",
            "cat < /var/log/../../etc/passwd",
            "echo x > ~/.ssh/authorized_keys",
            "echo x > .ssh/authorized_keys",
            "echo x > /srv/shop/releases/../x",
            "cd /etc && cat < /var/log/x > y",
            "systemctl restart nginx",
            "systemctl",
            "'systemctl status'",
            "test -v 'a[$(rm x)]'",
            "echo $((x))",
            "bash",
            "",
        ):
            self.assertIsInstance(judged("developers", command(text)).decision, Deny, text)

    def test_what_is_held(self) -> None:
        restart = command("sudo systemctl restart shop")
        self.assertIsInstance(judged("developers", restart).decision, Review)
        approved = judged("developers", restart, "approve-root")
        self.assertIsInstance(approved.decision, Allow)
        other = command("sudo systemctl restart nginx")
        self.assertIsInstance(judged("developers", other, "approve-root").decision, Deny)
        more = command("sudo sh -c 'systemctl restart shop; id'")
        self.assertIsInstance(judged("developers", more, "approve-root").decision, Deny)
