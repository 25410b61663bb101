"""Every recorded decision can be judged again, and comes out as it was recorded."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.events import Cap, Hop, Node, Origin, Principal
from hoopgw.grants.held import HeldGrant
from hoopgw.policy.engine import CedarPolicy
from hoopgw.policy.recorded import Question, QuestionReader, Retrial, Skipped
from hoopgw.policy.schema import Schema
from hoopgw.policy.sets import PolicySet
from hoopgw.policy.text import SourceFile, read_directory
from hoopgw.recording.decisions import Found
from hoopgw.recording.inputs import InputBook
from hoopgw.recording.records import DecisionInput, Intent, Record, SessionStarted, encode
from hoopgw_postgres import wire
from hoopgw_postgres.replay import replay
from tests.policy.test_granting import Holding
from tests.policy.world import ROOT
from tests.postgres.conversation import Conversation

SCHEMA = Schema.load(
    {"postgres": (ROOT / "protocols/hoopgw_postgres/schema.cedarschema").read_text("utf-8")}
)
EXAMPLES = PolicySet.from_files(read_directory(ROOT / "conf" / "policies"), SCHEMA)
TIMED = PolicySet.from_files(
    [
        SourceFile(
            name="t.cedar",
            text='@id("early") @max_rows("7") permit (principal, action, resource)'
            " when { context.now < 1000 };",
        )
    ],
    SCHEMA,
)
WRITING = wire.ready(b"I")


def chain(*names: str, groups: str = "developers", cap: bool = False) -> Principal:
    """Return someone's chain."""
    narrowed = (Cap(target="orders", actions=frozenset({"Postgres::select"})),) if cap else None
    root = Hop(id=f"corp|{names[0]}", name=names[0], kind="person", groups=frozenset({groups}))
    agents = tuple(
        Hop(id=f"corp|{names[0]}~{name}", name=name, kind="agent", caps=narrowed)
        for name in names[1:]
    )
    nodes = tuple(Node(id=hop.id) for hop in agents)
    return Principal(chain=(root, *agents), nodes=nodes, session="sid", expires=4e9)


PRINCIPALS = st.builds(
    chain,
    st.just("alice"),
    groups=st.sampled_from(["developers", "dba", "support", "none"]),
) | st.builds(
    chain,
    st.just("alice"),
    st.just("planner"),
    groups=st.sampled_from(["developers", "dba"]),
    cap=st.booleans(),
)
STATEMENTS = st.sampled_from(
    [
        b"SELECT 1",
        b"SELECT * FROM customers",
        b"SELECT * FROM customers WHERE id = 4",
        b"SELECT * FROM customers WHERE id = 5",
        b"UPDATE customers SET a = 1",
        b"UPDATE customers SET a = 1 WHERE id = 3",
        b"INSERT INTO items VALUES (1)",
        b"DROP TABLE customers",
        b"ALTER ROLE x PASSWORD 'y'",
        b"SELECT no syntax at all FROM FROM",
        b"SET work_mem = '4MB'",
    ]
)


def judged_again(policies: PolicySet, records: list[Record]) -> list[Question | Skipped]:
    """Read the records as a log, and compare what each says with a new judgement."""
    found = list(
        QuestionReader().read(Found(leaf, encode(each)) for leaf, each in enumerate(records))
    )
    retrial = Retrial(policies)
    for each in found:
        if isinstance(each, Question):
            again = retrial.judge(each)
            said = (again.word, again.because, again.detail, again.reason, again.policy)
            recorded = each.recorded
            assert said == (
                recorded.word,
                recorded.because,
                recorded.detail,
                recorded.reason if recorded.word == "deny" else "",
                recorded.policy,
            ), (each, again)
    return found


class DifferentialTests(SynchronousTestCase):
    """The log alone is enough to come to the same decisions."""

    @settings(max_examples=40, deadline=None)
    @given(PRINCIPALS, st.lists(STATEMENTS, min_size=1, max_size=6))
    def test_examples(self, principal: Principal, texts: list[bytes]) -> None:
        talk = Conversation(policy=CedarPolicy(EXAMPLES, lambda: 1e9), principal=principal)
        talk.journal.started()
        for text in texts:
            talk.say(wire.query(text))
            for review in talk.reviews.asked:
                if not review.settled.called:
                    review.settle("denied")
            talk.answer(WRITING)
        found = judged_again(EXAMPLES, talk.recorder.records)
        self.assertEqual(len(found), len(texts))
        faults = [each for each in found if isinstance(each, Skipped) and each.is_fault]
        self.assertEqual(faults, [])

    def test_time_is_recorded_where_it_counts(self) -> None:
        """The second that policy saw, not that of the record."""
        clock = [990.0]
        talk = Conversation(policy=CedarPolicy(TIMED, lambda: clock[0]))
        talk.journal.started()
        for at in (990.0, 999.9, 1000.0):
            clock[0] = at
            talk.say(wire.query(b"SELECT 1"))
            talk.answer(WRITING)
        found = judged_again(TIMED, talk.recorder.records)
        self.assertEqual([q.recorded.word for q in found if isinstance(q, Question)][2], "deny")
        self.assertEqual([q.decided for q in found if isinstance(q, Question)], [990, 999, 1000])

    def test_what_was_granted_counts_again(self) -> None:
        """A grant that is over by now, as a value in the log."""
        template = (
            '@id("t") @grant("read") @grant_approval("dba") permit (principal == ?principal,'
            ' action in Postgres::Action::"read", resource in ?resource);'
        )
        offered = PolicySet.from_files([SourceFile(name="g.cedar", text=template)], SCHEMA)
        held = HeldGrant(
            id="g-1",
            template="t",
            terms=offered.offers["t"].terms,
            target="orders",
            chain=(("person", "corp|alice"),),
            until=5.0,
        )
        policy = CedarPolicy(offered, lambda: 1.0, Holding(held))
        talk = Conversation(policy=policy, principal=chain("alice"))
        talk.journal.started()
        for text in (b"SELECT * FROM customers", b"DELETE FROM customers"):
            talk.say(wire.query(text))
            talk.answer(WRITING)
        found = judged_again(offered, talk.recorder.records)
        said = [(q.recorded.word, q.recorded.because) for q in found if isinstance(q, Question)]
        self.assertEqual(said, [("allow", ("t/g-1",)), ("deny", ())])

    def test_a_grant_that_was_used_up(self) -> None:
        """It allowed this one call; judged again, it does so again, and no other."""
        template = (
            '@id("t") @grant("read") @grant_approval("dba") @grant_scopes("call") permit (principal'
            ' == ?principal, action in Postgres::Action::"read", resource in ?resource);'
        )
        offered = PolicySet.from_files([SourceFile(name="g.cedar", text=template)], SCHEMA)
        held = HeldGrant(
            id="g-1",
            template="t",
            terms=offered.offers["t"].terms,
            target="orders",
            chain=(("person", "corp|alice"),),
            scope="call",
            digest=bytes(32),
            until=5.0,
        )
        policy = CedarPolicy(offered, lambda: 1.0, Holding(held))
        talk = Conversation(policy=policy, principal=chain("alice"))
        talk.journal.started()
        talk.say(wire.query(b"SELECT * FROM customers"))
        (refused,) = talk.recorder.of(Intent)
        used = msgspec.structs.replace(refused, decision="allow", because=["t/g-1"], judged="")
        records = [record for record in talk.recorder.records if record is not refused]
        found = judged_again(offered, [*records, used])
        self.assertEqual([q.recorded.word for q in found if isinstance(q, Question)], ["allow"])
        self.assertEqual(refused.decision, "deny")

    def test_in_a_transaction_nobody_can_be_asked(self) -> None:
        """The refusal is the gateway's; what policy said stands beside it."""
        talk = Conversation(policy=CedarPolicy(EXAMPLES, lambda: 1e9), principal=chain("alice"))
        talk.journal.started()
        talk.say(wire.query(b"BEGIN"))
        talk.answer(wire.ready(b"T"))
        talk.say(wire.query(b"UPDATE customers SET a = 1 WHERE id = 3"))
        intent = talk.recorder.of(Intent)[-1]
        self.assertEqual((intent.decision, intent.judged), ("deny", "review"))
        judged_again(EXAMPLES, talk.recorder.records)

    def test_once_for_all_sessions(self) -> None:
        """An input is written before the first intent that names it, and never again."""
        inputs, records = InputBook(), []
        for _ in range(3):
            talk = Conversation(
                policy=CedarPolicy(EXAMPLES, lambda: 1e9), principal=chain("alice"), inputs=inputs
            )
            for _ in range(3):
                talk.say(wire.query(b"SELECT * FROM customers"))
                talk.answer(WRITING)
            records += talk.recorder.records
        self.assertEqual([isinstance(r, DecisionInput) for r in records].count(True), 1)
        self.assertIsInstance(records[0], DecisionInput)
        names = {r.input for r in records if isinstance(r, Intent)}
        self.assertEqual(len(names), 1)


class StartTests(SynchronousTestCase):
    """The first record of a session."""

    def test_who_stood_behind_it(self) -> None:
        """What the issuer said of a job, of its run, and of who set it off."""
        job = Hop(
            id="gha|74",
            name="octo-org/octo-repo:prod",
            kind="workload",
            attributes=(("environment", "prod"), ("roles", ("a", "b"))),
        )
        behind = Origin(persons=frozenset({"corp|carol"}), attributes=(("run_id", "7"),))
        who = Principal(chain=(job,), session="s", expires=2e9, origin=behind)
        talk = Conversation(principal=who)
        talk.journal.started()
        started = talk.recorder.records[-1]
        assert isinstance(started, SessionStarted)
        self.assertEqual(started.chain[0].attributes, {"environment": "prod", "roles": ["a", "b"]})
        self.assertEqual(started.persons, ["corp|carol"])
        self.assertEqual(started.attributes, {"run_id": "7"})
        line = next(iter(replay([started]))).text
        self.assertIn("octo-org/octo-repo:prod (set off by corp|carol) opened", line)
