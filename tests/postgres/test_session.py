"""What a session does with messages, in the order in which they come."""

from __future__ import annotations

import itertools
import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.records import Intent, Result, ReviewSettled, SessionEnded, TextDefined
from hoopgw_postgres import wire
from hoopgw_postgres.statements import Facts
from tests.postgres.conversation import (
    ANALYSER,
    SYNC,
    Conversation,
    complete,
    error,
    fields,
    row,
    row_description,
)

READY, IN_TRANSACTION, FAILED = wire.ready(b"I"), wire.ready(b"T"), wire.ready(b"E")


def parse(text: bytes, name: bytes = b"") -> bytes:
    """Encode a Parse."""
    return wire.parse_message(name, text)


def bind(name: bytes = b"", *values: bytes, portal: bytes = b"") -> bytes:
    """Encode a Bind of text values."""
    body = portal + b"\0" + name + b"\0" + struct.pack(">HH", 0, len(values))
    for value in values:
        body += struct.pack(">i", len(value)) + value
    return wire.message(b"B", body + struct.pack(">H", 0))


def execute(portal: bytes = b"") -> bytes:
    """Encode an Execute."""
    return wire.message(b"E", portal + b"\0" + struct.pack(">i", 0))


def kinds(messages: list[tuple[str, bytes]]) -> str:
    """Join the types of messages."""
    return "".join(kind for kind, _body in messages)


class SimpleTests(SynchronousTestCase):
    """The simple protocol."""

    def setUp(self) -> None:
        self.talk = Conversation()

    def test_allowed_statement_passes_with_its_records(self) -> None:
        """Text and answer pass unchanged; intent before, result after."""
        self.assertEqual(self.talk.say(wire.query(b"SELECT 1")), [("Q", b"SELECT 1\0")])
        [intent] = self.talk.recorder.of(Intent)
        self.assertEqual((intent.decision, intent.text), ("allow", b"SELECT 1"))
        answer = row_description("a") + row(b"1") + complete("SELECT 1") + READY
        self.assertEqual(kinds(self.talk.answer(answer)), "TDCZ")
        [result] = self.talk.recorder.of(Result)
        self.assertEqual(
            (result.outcome, result.rows, result.intent), ("SELECT 1", 1, intent.sequence)
        )
        self.assertEqual((result.sent, result.output), (len(answer), answer))

    def test_refused_statement_never_leaves(self) -> None:
        """The target gets a statement that fails; the client gets our error and the real state."""
        [(kind, body)] = self.talk.say(wire.query(b"DROP TABLE customers"))
        self.assertEqual(kind, "Q")
        self.assertNotIn(b"customers", body)
        answer = self.talk.answer(error("26000"), READY)
        self.assertEqual(kinds(answer), "EZ")
        self.assertEqual(fields(answer[0][1])["C"], "42501")
        self.assertEqual(fields(answer[0][1])["M"], "no DDL here")
        self.assertEqual(self.talk.recorder.of(Intent)[0].decision, "deny")

    def test_refused_in_a_transaction_fails_it(self) -> None:
        """The transaction's state is the target's own."""
        self.talk.say(wire.query(b"BEGIN"))
        self.talk.answer(complete("BEGIN"), IN_TRANSACTION)
        self.talk.say(wire.query(b"DROP TABLE customers"))
        self.assertEqual(self.talk.answer(error("26000"), FAILED)[-1], ("Z", b"E"))

    def test_one_bad_statement_refuses_the_batch(self) -> None:
        """All statements of a text are judged before the first runs."""
        sent = self.talk.say(wire.query(b"SELECT 1; DROP TABLE customers"))
        self.assertNotIn(b"SELECT 1", sent[0][1])

    def test_pipelined_queries_keep_their_order(self) -> None:
        """A refusal between two queries is answered between their answers."""
        queries = [b"SELECT 1", b"DROP TABLE t", b"SELECT 2"]
        sent = self.talk.say(*(wire.query(text) for text in queries))
        self.assertEqual(kinds(sent), "QQQ")
        one = complete("SELECT 1") + READY
        answer = self.talk.answer(one, error("26000"), READY, one)
        self.assertEqual(kinds(answer), "CZEZCZ")
        self.assertEqual(fields(answer[2][1])["C"], "42501")

    def test_a_syntax_error_is_the_grammars(self) -> None:
        """It has PostgreSQL's code, text and position, and nothing is sent."""
        self.talk.say(wire.query(b"SELEC 1"))
        found = fields(self.talk.answer(error("26000"), READY)[0][1])
        self.assertEqual((found["C"], found["P"]), ("42601", "1"))
        self.assertIn('syntax error at or near "SELEC"', found["M"])

    def test_what_cannot_be_recorded_does_not_run(self) -> None:
        """The statement is refused, and the session goes on when there is room."""
        self.talk.recorder.full = True
        sent = self.talk.say(wire.query(b"SELECT 1"))
        self.assertNotIn(b"SELECT 1", sent[0][1])
        self.assertEqual(fields(self.talk.answer(error("26000"), READY)[0][1])["C"], "58030")
        self.talk.recorder.full = False
        self.assertEqual(self.talk.say(wire.query(b"SELECT 1")), [("Q", b"SELECT 1\0")])
        sequences = [record.sequence for record in self.talk.recorder.records]
        self.assertEqual(sequences, list(range(len(sequences))))

    def test_a_lost_parser_refuses(self) -> None:
        """No facts, no statement."""

        async def lost(text: bytes) -> Facts:
            from hoopgw.errors import UnavailableError

            raise UnavailableError("the parser died")

        talk = Conversation(classify=lost)
        self.assertNotIn(b"SELECT 1", talk.say(wire.query(b"SELECT 1"))[0][1])
        self.assertEqual(fields(talk.answer(error("26000"), READY)[0][1])["C"], "57P03")

    def test_nothing_passes_while_the_parser_thinks(self) -> None:
        """What comes behind an unjudged statement waits, and then goes in order."""
        waiting: Deferred[Facts] = Deferred()
        talk = Conversation(classify=lambda text: waiting)
        self.assertEqual(talk.say(wire.query(b"SELECT 1"), wire.query(b"SELECT 1")), [])
        waiting.callback(ANALYSER.facts(b"SELECT 1"))
        self.assertEqual(kinds(talk.target.take()), "QQ")

    def test_a_statement_over_the_limit(self) -> None:
        """It is refused, and the session goes on."""
        self.talk.say(wire.query(b"SELECT '" + b"x" * 2**20 + b"'"))
        self.assertEqual(fields(self.talk.answer(error("26000"), READY)[0][1])["C"], "54000")
        self.assertEqual(self.talk.over, [])

    def test_row_limit(self) -> None:
        """The client gets as many rows as it may, then an error; the target is cancelled."""
        self.talk.policy.max_rows = 2
        self.talk.say(wire.query(b"SELECT a FROM t"))
        answer = self.talk.answer(row_description("a"), row(b"1"), row(b"2"), row(b"3"))
        self.assertEqual(kinds(answer), "TDD")
        self.assertEqual(self.talk.cancels, ["c"])
        answer = self.talk.answer(row(b"4"), error("57014"), READY)
        self.assertEqual(kinds(answer), "EZ")
        self.assertEqual(fields(answer[0][1])["C"], "54000")


class ExtendedTests(SynchronousTestCase):
    """The extended protocol."""

    def setUp(self) -> None:
        self.talk = Conversation()

    def test_prepared_statement_runs_often(self) -> None:
        """The text is recorded once; each run has its own intent with its values."""
        self.talk.say(parse(b"SELECT a FROM t WHERE a = $1", b"s"), SYNC)
        self.talk.answer(wire.message(b"1"), READY)
        for value in (b"7", b"8"):
            sent = self.talk.say(bind(b"s", value), execute(), SYNC)
            self.assertEqual(kinds(sent), "BES")
            self.talk.answer(wire.message(b"2"), row(value), complete("SELECT 1"), READY)
        self.assertEqual(len(self.talk.recorder.of(TextDefined)), 1)
        intents = self.talk.recorder.of(Intent)
        self.assertEqual([intent.text for intent in intents], [1, 1])
        self.assertIn(b"7", intents[0].parameters)
        self.assertNotEqual(intents[0].digest, intents[1].digest)

    def test_refused_parse_skips_to_sync(self) -> None:
        """What is behind it is dropped by both, up to Sync; then all is well again."""
        sent = self.talk.say(parse(b"DROP TABLE t"), bind(), execute(), SYNC)
        self.assertEqual(kinds(sent), "DS")
        answer = self.talk.answer(error("26000"), READY)
        self.assertEqual(kinds(answer), "EZ")
        self.assertEqual(fields(answer[0][1])["C"], "42501")
        self.assertEqual(kinds(self.talk.say(parse(b"SELECT 1"), bind(), execute(), SYNC)), "PBES")

    def test_refused_parse_undoes_what_was_before(self) -> None:
        """The failing stand-in goes through the target, so its implicit transaction rolls back."""
        sent = self.talk.say(
            *(parse(b"INSERT INTO t VALUES (1)"), bind(), execute()),
            *(parse(b"DROP TABLE t"), bind(), execute(), SYNC),
        )
        self.assertEqual(kinds(sent), "PBECDS")

    def test_what_comes_after_an_error_is_skipped(self) -> None:
        """The target met an error, and the client, which does not know yet, sends on."""
        self.talk.say(parse(b"SELECT 1/0"), bind(), execute())
        self.talk.answer(wire.message(b"1"), wire.message(b"2"), error("22012"))
        late = self.talk.say(parse(b"DELETE FROM t", b"s"), bind(b"s"), execute(), wire.query(b"x"))
        self.assertEqual(late, [], "the target would read over them")
        self.assertEqual(self.talk.reviews.asked, [])
        self.assertEqual(kinds(self.talk.say(SYNC)), "S")
        self.assertEqual(kinds(self.talk.answer(READY)), "Z")
        self.assertEqual(kinds(self.talk.say(parse(b"SELECT 1"), bind(), execute(), SYNC)), "PBES")

    def test_an_error_while_the_parser_thinks(self) -> None:
        """What was being judged meanwhile is left out, and its name is not kept."""
        waiting: dict[bytes, Deferred[Facts]] = {b"SELECT 1/0": Deferred(), b"SELECT 2": Deferred()}
        talk = Conversation(classify=waiting.__getitem__)
        talk.say(parse(b"SELECT 1/0"), bind(), execute(), parse(b"SELECT 2", b"s"), SYNC)
        waiting[b"SELECT 1/0"].callback(ANALYSER.facts(b"SELECT 1/0"))
        self.assertEqual(kinds(talk.target.take()), "PBE")
        talk.answer(wire.message(b"1"), wire.message(b"2"), error("22012"))
        waiting[b"SELECT 2"].callback(ANALYSER.facts(b"SELECT 2"))
        self.assertEqual(kinds(talk.target.take()), "S")
        self.assertEqual(kinds(talk.answer(READY)), "Z")
        self.assertEqual(talk.over, [])
        self.assertEqual(kinds(talk.say(bind(b"s"), SYNC)), "DS")

    def test_unknown_names_are_refused(self) -> None:
        """As by PostgreSQL, in its words."""
        self.talk.say(bind(b"nope"), execute(), SYNC)
        found = fields(self.talk.answer(error("26000"), READY)[0][1])
        self.assertEqual(found["C"], "26000")
        self.assertEqual(found["M"], 'prepared statement "nope" does not exist')

    def test_failed_parse_leaves_no_name(self) -> None:
        """A statement that the target refused cannot be bound by its name."""
        self.talk.say(parse(b"SELECT nowhere", b"s"), SYNC)
        self.talk.answer(error("42703"), READY)
        self.assertEqual(kinds(self.talk.say(bind(b"s"), SYNC)), "DS")

    def test_swapped_statement_is_judged_by_its_text(self) -> None:
        """Close and Parse under a name that was allowed brings no right along."""
        self.talk.say(parse(b"SELECT 1", b"s"), SYNC)
        self.talk.answer(wire.message(b"1"), READY)
        close = wire.message(b"C", b"Ss\0")
        sent = self.talk.say(close, parse(b"DROP TABLE t", b"s"), bind(b"s"), execute(), SYNC)
        self.assertEqual(kinds(sent), "CDS")

    def test_sql_execute_is_judged_by_what_was_prepared(self) -> None:
        """PREPARE and Parse share names; EXECUTE of a held statement is held."""
        self.talk.say(parse(b"DELETE FROM t", b"s"), SYNC)
        self.talk.answer(wire.message(b"1"), READY)
        self.assertEqual(self.talk.say(wire.query(b"EXECUTE s")), [])
        self.assertEqual(len(self.talk.reviews.asked), 1)

    def test_a_stray_function_call_is_refused(self) -> None:
        """FunctionCall names a function by number: it does not pass."""
        sent = self.talk.say(wire.message(b"F", struct.pack(">IHHH", 1598, 0, 0, 0)))
        self.assertEqual(kinds(sent), "Q")
        self.assertEqual(fields(self.talk.answer(error("26000"), READY)[0][1])["C"], "0A000")


class HoldTests(SynchronousTestCase):
    """An operation under review."""

    def setUp(self) -> None:
        self.talk = Conversation()
        self.sent = self.talk.say(wire.query(b"DELETE FROM t"), wire.query(b"SELECT 1"))

    def test_nothing_moves(self) -> None:
        """Neither the statement nor what is behind it; the client gets a notice."""
        self.assertEqual(self.sent, [])
        [(kind, body)] = self.talk.client.take()
        self.assertEqual(kind, "N")
        self.assertIn("request r1", fields(body)["M"])
        self.assertIn("dba", fields(body)["M"])
        self.assertIn("hoopgw requests approve r1", fields(body)["H"])

    def test_reviewers_see_what_is_bound(self) -> None:
        """Before the text, so that nothing in it can pass for what we say."""
        talk = Conversation()
        text = b"DELETE FROM t WHERE id = $1 -- $1 = 'nothing'"
        talk.say(parse(text), bind(b"", b"42"), execute(), SYNC)
        talk.answer(wire.message(b"1"), wire.message(b"2"), READY)
        [asked] = talk.reviews.asked
        self.assertEqual(asked.operation.text, f"-- bound: $1 = '42'\n{text.decode()}")

    def test_approved_runs_after_a_sync_of_its_record(self) -> None:
        """The settled review is synced before the first byte goes."""
        self.talk.recorder.hold_syncs = True
        self.talk.reviews.asked[0].settle("approved")
        self.assertEqual(self.talk.target.take(), [])
        self.talk.recorder.syncs[0].callback(None)
        sent = self.talk.target.take()
        self.assertEqual(sent[0], ("Q", b"DELETE FROM t\0"))
        self.assertEqual(kinds(sent), "QQ")
        [settled] = self.talk.recorder.of(ReviewSettled)
        self.assertEqual((settled.outcome, settled.intent), ("approved", 1))

    def test_denied_is_refused(self) -> None:
        """And the next statement goes on."""
        self.talk.reviews.asked[0].settle("denied")
        sent = self.talk.target.take()
        self.assertNotIn(b"DELETE", sent[0][1])
        self.assertEqual(sent[1], ("Q", b"SELECT 1\0"))
        self.talk.client.take()
        answer = self.talk.answer(error("26000"), READY)
        self.assertEqual(fields(answer[0][1])["C"], "42501")

    def test_cancel_withdraws(self) -> None:
        """As psql's Ctrl-C does: SQLSTATE 57014, and nobody can approve any more."""
        self.talk.session.cancel()
        self.assertTrue(self.talk.reviews.asked[0].withdrawn)
        self.talk.client.take()
        self.assertEqual(fields(self.talk.answer(error("26000"), READY)[0][1])["C"], "57014")

    def test_a_lost_client_withdraws(self) -> None:
        """Nothing runs for somebody who has gone, though it is approved later."""
        self.talk.session.client_lost()
        self.assertTrue(self.talk.reviews.asked[0].withdrawn)
        self.talk.reviews.asked[0].settle("approved")
        self.assertNotIn(b"DELETE", bytes(self.talk.target.written))
        self.assertEqual(self.talk.recorder.of(ReviewSettled)[0].outcome, "withdrawn")
        self.assertEqual(self.talk.recorder.records[-1], self.talk.recorder.of(SessionEnded)[0])

    def test_reading_ahead_is_bounded(self) -> None:
        """A client that sends without end while people think would not be seen to leave."""
        self.talk.say(wire.query(b"x" * 2**20))
        self.assertEqual(fields(self.talk.client.take()[-1][1])["C"], "54000")
        self.assertTrue(self.talk.reviews.asked[0].withdrawn)

    def test_reading_ahead_of_the_parser_is_bounded(self) -> None:
        """A client that goes on sending is stopped, and read on afterwards."""
        waiting: Deferred[Facts] = Deferred()
        talk = Conversation(classify=lambda text: waiting)
        talk.say(wire.query(b"SELECT 1"), wire.query(b"SELECT '" + b"x" * 2**20 + b"'"))
        self.assertTrue(talk.client.paused)
        waiting.callback(ANALYSER.facts(b"SELECT 1"))
        self.assertFalse(talk.client.paused)
        self.assertEqual(kinds(talk.target.take()), "QQ")

    def test_not_in_a_transaction(self) -> None:
        """Locks are not held while people think."""
        talk = Conversation()
        talk.say(wire.query(b"BEGIN"), wire.query(b"DELETE FROM t"))  # pipelined
        self.assertEqual(talk.reviews.asked, [])
        answer = talk.answer(complete("BEGIN"), IN_TRANSACTION, error("26000"), FAILED)
        self.assertIn("in a transaction", fields(answer[2][1])["M"])

    def test_nobody_to_ask(self) -> None:
        """Without control, what needs approval does not run."""
        talk = Conversation()
        talk.reviews.closed = True
        talk.say(wire.query(b"DELETE FROM t"))
        answer = talk.answer(error("26000"), READY)
        self.assertIn("nobody can be asked", fields(answer[0][1])["M"])


class StrictTests(SynchronousTestCase):
    """A target with strict durability."""

    def test_runs_after_its_sync(self) -> None:
        """No byte goes before the intent survives a power loss."""
        talk = Conversation(strict=True)
        talk.recorder.hold_syncs = True
        self.assertEqual(talk.say(wire.query(b"SELECT 1")), [])
        talk.recorder.syncs[0].callback(None)
        self.assertEqual(talk.target.take(), [("Q", b"SELECT 1\0")])


class HostileTests(SynchronousTestCase):
    """Peers that break the protocol."""

    @given(st.binary(max_size=200))
    def test_garbage_from_the_client_ends_in_an_error(self, garbage: bytes) -> None:
        """Never an exception, never a byte that was not judged."""
        talk = Conversation()
        talk.session.from_client(memoryview(garbage))
        for kind, _body in talk.target.take():
            self.assertIn(kind, "QPBDECHSdcfX")

    @given(st.binary(max_size=200))
    def test_garbage_from_the_target_ends_the_session(self, garbage: bytes) -> None:
        """Never an exception."""
        talk = Conversation()
        talk.target.protocol.dataReceived(memoryview(garbage))

    @settings(max_examples=40)
    @given(st.data())
    def test_any_cut_gives_the_same(self, data: st.DataObject) -> None:
        """Segmentation changes nothing, in either direction."""
        asked = wire.query(b"SELECT 1") + wire.query(b"DROP TABLE t") + wire.query(b"SELECT 2")
        one = row_description("a") + row(b"1" * 40) + complete("SELECT 1") + READY
        answered = one + error("26000") + READY + one
        whole, cut = Conversation(), Conversation()
        whole.say(asked)
        expected = whole.answer(answered)
        for way, bytes_ in ((cut.session.from_client, asked), (cut.session.from_target, answered)):
            points = data.draw(st.lists(st.integers(0, len(bytes_)), max_size=len(bytes_)))
            edges = sorted({0, len(bytes_), *points})
            for start, end in itertools.pairwise(edges):
                way(memoryview(bytes_[start:end]))
        self.assertEqual(cut.client.take(), expected)

    def test_rows_that_nobody_asked_for(self) -> None:
        """The target cannot speak out of turn."""
        talk = Conversation()
        talk.target.protocol.dataReceived(memoryview(row(b"1")))
        self.assertEqual(len(talk.over), 1)
        self.assertEqual(fields(talk.client.take()[0][1])["C"], "08P01")

    def test_a_pinned_setting_that_changes(self) -> None:
        """What would change the meaning of bytes ends the session."""
        talk = Conversation()
        status = wire.parameter_status("standard_conforming_strings", "off")
        talk.target.protocol.dataReceived(memoryview(status))
        self.assertEqual(len(talk.over), 1)

    def test_a_huge_row_streams(self) -> None:
        """Rows that pass as they are need not fit into memory."""
        talk = Conversation()
        talk.say(wire.query(b"SELECT a FROM t"))
        head = row_description("a") + b"D" + (2**30).to_bytes(4, "big")
        talk.target.protocol.dataReceived(memoryview(head))
        before = len(talk.client.written)
        talk.target.protocol.dataReceived(memoryview(b"x" * 100_000))
        self.assertEqual(len(talk.client.written) - before, 100_000)

    def test_a_notice_waits_for_the_end_of_a_row(self) -> None:
        """Our own messages never land inside one of the target's."""
        talk = Conversation()
        talk.say(wire.query(b"SELECT a FROM t"))
        whole = row_description("a") + row(b"y" * 1000)
        talk.target.protocol.dataReceived(memoryview(whole[:-500]))
        talk.session.cut("time is over")
        talk.target.protocol.dataReceived(memoryview(whole[-500:]))
        self.assertNotIn(b"FATAL", bytes(talk.client.written)[: len(whole)])


class PolicyTests(SynchronousTestCase):
    """What was decided holds as long as the policy says the same."""

    def test_a_new_epoch_is_a_new_decision(self) -> None:
        """The version alone does not say what the time of the day does."""
        talk = Conversation()
        talk.say(wire.query(b"SELECT 1"))
        talk.answer(complete("SELECT 1"), READY)
        talk.policy.epoch = "v1 17:00"
        talk.policy.refuses.add("Postgres::select")
        sent = talk.say(wire.query(b"SELECT 1"))
        self.assertNotIn(b"SELECT 1", sent[0][1])


class NameTests(SynchronousTestCase):
    """What a name means is what the target says."""

    def test_a_refused_parse_drops_the_unnamed_statement(self) -> None:
        """As PostgreSQL does before it looks at the new one."""
        talk = Conversation()
        sent = talk.say(parse(b"SELECT 1"), SYNC)
        talk.answer(wire.message(b"1"), READY)
        sent = talk.say(parse(b"DROP TABLE t"), SYNC, bind(), SYNC)
        self.assertEqual(kinds(sent), "CDS")
        answer = talk.answer(wire.message(b"3"), error("26000"), READY)
        self.assertEqual(kinds(answer), "EZ")
        found = fields(talk.answer(error("26000"), READY)[0][1])
        self.assertEqual(found["M"], 'prepared statement "" does not exist')

    def test_a_portal_of_execute_is_not_followed(self) -> None:
        """What EXECUTE meant when it was bound says nothing of what it means at FETCH."""
        talk = Conversation()
        talk.say(wire.query(b"BEGIN"))
        talk.answer(complete("BEGIN"), IN_TRANSACTION)
        talk.say(parse(b"SELECT 1", b"s"), SYNC)
        talk.answer(wire.message(b"1"), IN_TRANSACTION)
        talk.say(parse(b"EXECUTE s", b"e"), bind(b"e", portal=b"q"), SYNC)
        talk.answer(wire.message(b"1"), wire.message(b"2"), IN_TRANSACTION)
        talk.say(wire.query(b"FETCH ALL FROM q"))
        self.assertEqual(fields(talk.answer(error("26000"), FAILED)[0][1])["C"], "0A000")

    def test_settings_change_by_set_only(self) -> None:
        """A view over the settings would change them unseen."""
        talk = Conversation()
        talk.say(wire.query(b"UPDATE pg_settings SET setting = 'off' WHERE name = 'x'"))
        self.assertEqual(fields(talk.answer(error("26000"), READY)[0][1])["C"], "42501")
