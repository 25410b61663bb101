"""Policy tools on what a real gateway recorded: every decision in its log can be made again."""

from __future__ import annotations

from collections import Counter
from typing import Any

import psycopg
import pytest

from hoopgw.policy.recorded import Question, QuestionReader, Retrial, Skipped
from hoopgw.policy.sets import PolicySet
from hoopgw.recording.decisions import DecisionLog
from tests.policy.world import ROOT
from tests.support.gateway import GatewayRig
from tests.support.processes import wait_until

SCHEMAS = {"postgres": (ROOT / "protocols/hoopgw_postgres/schema.cedarschema").read_text("utf-8")}
STATEMENTS = (
    "SELECT name FROM customers WHERE id = 1",
    "SELECT name FROM customers WHERE id = 2",
    "SELECT count(*) FROM customers",
    "DO $$ BEGIN END $$",
    "SELECT 1; SELECT 2",
    "SET statement_timeout = 0",
    "EXPLAIN SELECT 1",
    "no statement at all",
)


def asked(rig: GatewayRig) -> list[Question | Skipped]:
    """Return everything that is in the gateway's log."""
    log = DecisionLog(rig.settings.paths.log)
    return list(QuestionReader().read(log.records(log.begin(None))))


def test_every_recorded_decision_is_what_policy_says_again(rig: GatewayRig, masked: str) -> None:
    """Of whatever the tests before this one did, and of some of each kind, fields as well."""
    name = f"again-{masked}"
    for agent in (None, "planner"):
        with rig.connect(masked, name=name, agent=agent) as connection:
            for statement in STATEMENTS:
                try:
                    connection.execute(statement.encode())
                except psycopg.Error:
                    continue
            connection.execute("SELECT id FROM customers WHERE id = %s", (3,))
        with rig.connect(masked, name=name, agent=agent, groups=["readers"]) as connection:
            with pytest.raises(psycopg.Error):
                connection.execute("DELETE FROM customers")
            connection.execute("SELECT id FROM customers")

    def is_recorded() -> bool:
        mine = [q for q in asked(rig) if isinstance(q, Question) and q.chain[0].name == name]
        return sum(q.recorded.word == "deny" for q in mine) == 2

    wait_until("the log has it all", is_recorded)
    retrial = Retrial(PolicySet.load(rig.settings.policy.directory, SCHEMAS))
    kinds: Counter[Any] = Counter()
    for each in asked(rig):
        if isinstance(each, Skipped):
            assert not each.is_fault, each
            continue
        if each.recorded.policy != retrial.policies.version:
            continue  # a test that changed the files
        again = retrial.judge(each)
        assert (again.word, again.because, again.detail) == (
            each.recorded.word,
            each.recorded.because,
            each.recorded.detail,
        ), (each, again)
        kinds[each.kind, each.recorded.word] += 1
    for kind in (("operation", "allow"), ("operation", "deny"), ("session", "allow")):
        assert kinds[kind] > 0, kinds
    assert kinds["field", "masked"] > 0, kinds


def test_a_refusal_is_explained(rig: GatewayRig) -> None:
    """From the log, by the policy of now; to the person who was refused, and to nobody else's."""
    name = "explained"
    with rig.connect("pg18", name=name) as connection, pytest.raises(psycopg.Error):
        connection.execute("DO $$ BEGIN END $$")

    def mine() -> list[Question]:
        found = (q for q in asked(rig) if isinstance(q, Question))
        return [q for q in found if q.chain[0].name == name and q.recorded.word == "deny"]

    wait_until("the refusal is in the log", lambda: bool(mine()))
    (refused,) = mine()
    wait_until("the index has it", lambda: "explained" in str(rig.api("GET", "/v1/sessions")))
    path = f"/v1/sessions/{refused.session}/explain?sequence={refused.sequence}"
    said = rig.api("GET", path, name=name, groups=["developers"])
    assert said["recorded"]["because"] == ["no-do"]
    assert said["decision"] == "deny"
    assert any("refused by no-do" in line for line in said["lines"])
    with pytest.raises(Exception, match="404"):
        rig.api("GET", path, name="somebody", groups=["developers"])
