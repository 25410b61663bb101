"""Tests of `hoopgw.store.sqlite`."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import UnavailableError
from hoopgw.store.rows import (
    OPEN_STATES,
    AgentRow,
    LoginRow,
    PasswordRow,
    SessionHead,
    Store,
    Vote,
)
from hoopgw.store.sqlite_logins import LOGINS_LIMIT
from tests.store.values import ALICE, ALICES_AGENT, CAROL, digest, open_store, request

VOTE = Vote(
    request="r-1",
    person="corp|carol",
    name="carol",
    groups=frozenset({"dba", "a\nb"}),
    approve=True,
    comment="fine",
    at=5.0,
)
PASSWORD = PasswordRow(
    handle="abcdefgh",
    target="orders",
    account="reader",
    principal=ALICES_AGENT,
    salt=b"salt",
    iterations=4096,
    stored_key=b"\0" * 32,
    server_key=b"\1" * 32,
    expires=100.0,
)
AGENT = AgentRow(name="local", serial="ab12", previous="", enrolled=1.0, expires=86401.0)
LOGIN = LoginRow(
    id="login-alice",
    principal=ALICE,
    thumbprint="t",
    refresh=b"\1" * 32,
    began=1.0,
    groups_at=1.0,
    expires=100.0,
)
MOVED = evolve(ALICE, chain=(evolve(ALICE.root, groups=frozenset({"other"})),))
HEAD = SessionHead(
    id="s-1",
    worker="w1",
    principal=ALICE,
    target="orders",
    protocol="postgres",
    account="reader",
    address="127.0.0.1:5",
    opened=3.0,
)


class StoreTestCase(SynchronousTestCase):
    """A store in a file of its own."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.store = open_store(self.path)
        self.addCleanup(self.store.close)

    def reopen(self) -> Store:
        """Open the same file once more, as after a crash: nothing was closed."""
        store = open_store(self.path)
        self.addCleanup(store.close)
        return store

    def alter(self, sql: str) -> None:
        """Change the file behind the store's back."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            self.assertGreater(connection.execute(sql).rowcount, 0)
        finally:
            connection.close()


class KeepTests(StoreTestCase):
    """What is kept comes back as it was, in another process too."""

    def test_requests_and_votes(self) -> None:
        with self.store.change() as change:
            change.add_request(request(1))
            change.put_vote(VOTE)
        other = self.reopen()
        self.assertEqual(other.request("r-1"), request(1))
        self.assertEqual(other.votes("r-1"), [VOTE])
        self.assertIsNone(other.request("r-2"))

    def test_a_failed_change_leaves_nothing(self) -> None:
        with self.assertRaises(ZeroDivisionError), self.store.change() as change:
            change.add_request(request(1))
            raise ZeroDivisionError
        self.assertIsNone(self.store.request("r-1"))

    def test_a_vote_needs_its_request(self) -> None:
        with self.assertRaises(UnavailableError), self.store.change() as change:
            change.put_vote(VOTE)

    def test_a_later_vote_of_a_person_replaces_the_earlier(self) -> None:
        with self.store.change() as change:
            change.add_request(request(1))
            change.put_vote(VOTE)
            change.put_vote(evolve(VOTE, approve=False))
        self.assertEqual([vote.approve for vote in self.store.votes("r-1")], [False])

    def test_newest_requests_first_and_no_more_than_asked(self) -> None:
        with self.store.change() as change:
            for number in (1, 2, 3):
                change.add_request(request(number))
            change.replace(request(3), evolve(request(3), state="denied"))
        self.assertEqual(self.store.request_ids(None, 2), ["r-3", "r-2"])
        waiting = self.store.request_ids(OPEN_STATES, 9)
        self.assertEqual(waiting, ["r-2", "r-1"])
        self.assertEqual(self.store.count_states(), {"requested": 2, "denied": 1})

    def test_waiting_requests_are_counted_by_root(self) -> None:
        with self.store.change() as change:
            change.add_request(request(1))
            change.add_request(request(2, ALICES_AGENT))
            change.add_request(request(3, CAROL))
            self.assertEqual(change.count_waiting(), 3)
            self.assertEqual(change.count_waiting("corp|alice"), 2)

    def test_passwords(self) -> None:
        self.store.keep_password(PASSWORD)
        self.assertEqual(self.reopen().password("abcdefgh"), PASSWORD)
        counts = [self.store.count_passwords(f"login-{name}") for name in ("alice", "carol")]
        self.assertEqual(counts, [1, 0])
        self.store.revoke("login-carol", 50.0)
        self.assertIsNotNone(self.store.password("abcdefgh"))
        self.store.revoke("login-alice", 50.0)
        self.store.revoke("login-alice", 40.0)
        self.assertIsNone(self.store.password("abcdefgh"))

    def test_a_revoked_login_is_remembered_until_its_end(self) -> None:
        self.store.revoke("login-alice", 50.0)
        self.store.revoke("login-alice", 40.0)
        self.store.purge(109.0, 0.0)
        self.assertTrue(self.reopen().is_revoked(["login-alice"]))
        self.assertEqual(self.store.revoked(), {"login-alice": 50.0})
        self.assertFalse(self.store.is_revoked(["login-carol"]))
        self.store.purge(111.0, 0.0)
        self.assertFalse(self.store.is_revoked(["login-alice"]))

    def test_a_handle_is_not_taken_twice(self) -> None:
        self.store.keep_password(PASSWORD)
        other = evolve(PASSWORD, principal=CAROL)
        self.assertRaises(UnavailableError, self.store.keep_password, other)
        self.assertEqual(self.store.password("abcdefgh"), PASSWORD)

    def test_agents(self) -> None:
        self.store.put_agent(AGENT)
        self.store.put_agent(evolve(AGENT, serial="cd", previous="ab12"))
        (found,) = self.reopen().agents()
        self.assertEqual([found.accepts(s) for s in ("cd", "ab12", "", "ff")], [1, 1, 0, 0])
        self.store.put_agent(evolve(found, revoked=9.0))
        revoked = self.store.agent("local")
        assert revoked is not None
        self.assertFalse(revoked.accepts("cd"))

    def test_sessions_are_those_of_workers_that_live(self) -> None:
        for head in (HEAD, evolve(HEAD, id="s-2"), evolve(HEAD, id="s-3", worker="w2")):
            self.store.open_session(head)
        self.store.open_session(HEAD)  # announced again after a reconnection
        self.store.close_session("s-2")
        self.assertEqual({head.id for head in self.store.sessions()}, {"s-1", "s-3"})
        self.assertEqual(self.store.session("s-1"), HEAD)
        self.store.drop_sessions("w1")
        self.assertEqual([head.id for head in self.store.sessions()], ["s-3"])
        self.store.drop_sessions()
        self.assertEqual(self.store.sessions(), [])

    def test_purge_drops_what_is_over(self) -> None:
        self.store.keep_password(PASSWORD)
        self.store.use_once("pop", "j", 50.0)
        with self.store.change() as change:
            change.add_request(request(1))
            change.add_request(request(2))
            change.replace(request(1), evolve(request(1), state="denied"))
        self.store.purge(159.0, 1.5)
        self.assertIsNotNone(self.store.password("abcdefgh"))
        self.assertTrue(self.store.use_once("pop", "j", 200.0))
        self.assertEqual(self.store.request_ids(None, 9), ["r-2"])
        self.store.purge(161.0, 1000.0)
        self.assertIsNone(self.store.password("abcdefgh"))
        self.assertEqual(self.store.request_ids(None, 9), ["r-2"])  # it waits

    def test_a_full_disk_is_told(self) -> None:
        """What cannot be written is `UnavailableError`, which refuses the operation."""
        self.store.check_writable()
        self.store._db.connection.execute("PRAGMA query_only = ON")
        self.assertRaises(UnavailableError, self.store.check_writable)
        self.assertRaises(UnavailableError, self.store.use_once, "pop", "j", 1.0)


class OnceTests(StoreTestCase):
    """What may happen once."""

    def test_logins(self) -> None:
        """Each is replaced only as it was read, and goes when it is revoked."""
        self.assertTrue(self.store.logins.keep(LOGIN))
        self.assertEqual(self.reopen().logins.find("login-alice"), LOGIN)
        first = evolve(LOGIN, refresh=b"\2" * 32, groups_at=9.0, principal=MOVED)
        self.assertTrue(self.store.logins.replace(LOGIN, first))
        self.assertFalse(self.store.logins.replace(LOGIN, evolve(LOGIN, refresh=b"\3" * 32)))
        self.assertEqual(self.store.logins.find("login-alice"), first)
        self.store.revoke("login-alice", 50.0)
        self.assertIsNone(self.store.logins.find("login-alice"))

    def test_a_principal_has_no_more_logins_than_the_limit(self) -> None:
        """What was given to one does not count for another, nor what is over."""
        for number in range(LOGINS_LIMIT):
            expires = 100.0 if number else 2.0
            self.assertTrue(
                self.store.logins.keep(evolve(LOGIN, id=f"l-{number}", expires=expires))
            )
        self.assertFalse(self.store.logins.keep(LOGIN))
        self.assertTrue(self.store.logins.keep(evolve(LOGIN, id="other", principal=CAROL)))
        self.assertTrue(self.store.logins.keep(evolve(LOGIN, id="later", began=3.0)))

    def test_a_jti_is_used_once_for_each_purpose(self) -> None:
        self.assertTrue(self.store.use_once("pop", "j", 50.0))
        self.assertFalse(self.reopen().use_once("pop", "j", 50.0))
        self.assertTrue(self.store.use_once("ticket", "j", 50.0))

    def test_a_join_token_is_for_one_agent_one_time_and_not_for_long(self) -> None:
        self.store.add_join_token(digest("t"), "local", 100.0)
        self.assertFalse(self.store.use_join_token(digest("u"), "local", 1.0))
        self.assertFalse(self.store.use_join_token(digest("t"), "other", 1.0))
        self.assertFalse(self.store.use_join_token(digest("t"), "local", 100.0))
        self.assertTrue(self.store.use_join_token(digest("t"), "local", 99.0))
        self.assertFalse(self.store.use_join_token(digest("t"), "local", 99.0))

    def test_racing_uses_of_a_join_token(self) -> None:
        """Of twenty at once, from connections of their own, one wins."""
        self.store.add_join_token(digest("t"), "local", 100.0)
        start, won = threading.Barrier(20), list[bool]()

        def use() -> None:
            store = open_store(self.path)
            start.wait()
            won.append(store.use_join_token(digest("t"), "local", 1.0))
            store.close()

        threads = [threading.Thread(target=use) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(won), [False] * 19 + [True])

    def test_a_change_from_a_stale_view_does_nothing(self) -> None:
        with self.store.change() as change:
            change.add_request(request(1))
            self.assertTrue(change.replace(request(1), evolve(request(1), reason="r")))
            self.assertFalse(change.replace(request(1), evolve(request(1), state="approved")))

    def test_the_same_operation_waits_once(self) -> None:
        with self.assertRaises(UnavailableError), self.store.change() as change:
            change.add_request(request(1))
            change.add_request(evolve(request(2), join_key=request(1).join_key))


class TamperTests(StoreTestCase):
    """Rows changed in the file are as if they were not there, and it shows."""

    def setUp(self) -> None:
        super().setUp()
        with self.store.change() as change:
            change.add_request(request(1))
            change.put_vote(VOTE)
        self.store.keep_password(PASSWORD)
        self.store.put_agent(evolve(AGENT, revoked=5.0))
        self.store.add_join_token(digest("t"), "local", 100.0)

    def test_every_column_of_a_request_is_sealed(self) -> None:
        for column, value in (
            ("state", "'approved'"),
            ("operation", "x'00'"),
            ("digest", "x'00'"),
            ("principal", "replace(principal, 'alice', 'mallo')"),
            ("remedies", "'[]'"),
            ("reason", "'because'"),
            ("usable_until", "99999.0"),
            ("expires", "expires + 1"),
            ("target", "'other'"),
            ("context", "'{}'"),
        ):
            before = self.store.tampered
            connection = sqlite3.connect(self.path, isolation_level=None)
            old = connection.execute(f"SELECT {column} FROM requests").fetchone()[0]
            connection.execute(f"UPDATE requests SET {column} = {value}")
            self.assertIsNone(self.store.request("r-1"), column)
            self.assertGreater(self.store.tampered, before)
            connection.execute(f"UPDATE requests SET {column} = ?", (old,))
            connection.close()
            self.assertIsNotNone(self.store.request("r-1"), column)

    def test_a_seal_moved_to_another_row_does_not_hold(self) -> None:
        with self.store.change() as change:
            change.add_request(evolve(request(2), state="approved"))
        self.alter("UPDATE requests SET seal = (SELECT seal FROM requests WHERE id = 'r-2')")
        self.assertIsNone(self.store.request("r-1"))

    def test_a_vote_cannot_be_turned_or_moved(self) -> None:
        self.alter("UPDATE votes SET approve = 0")
        self.assertEqual(self.store.votes("r-1"), [])
        self.alter("UPDATE votes SET approve = 1, person = 'corp|erin'")
        self.assertEqual(self.store.votes("r-1"), [])

    def test_a_password_cannot_be_given_to_another(self) -> None:
        self.alter("UPDATE session_passwords SET account = 'owner'")
        self.assertIsNone(self.store.password("abcdefgh"))

    def test_an_agent_cannot_be_taken_back(self) -> None:
        self.alter("UPDATE agents SET revoked = NULL")
        self.assertIsNone(self.store.agent("local"))
        self.assertEqual(self.store.agents(), [])

    def test_a_login_cannot_be_given_other_groups_or_another_key(self) -> None:
        self.store.logins.keep(LOGIN)
        for change in ("thumbprint = 'other'", "expires = 1e9", "groups_at = 99", "root = 'x'"):
            self.alter(f"UPDATE logins SET {change}")
            self.assertIsNone(self.store.logins.find("login-alice"), change)

    def test_a_join_token_cannot_be_given_to_another_agent(self) -> None:
        self.alter("UPDATE join_tokens SET agent = 'evil'")
        self.assertFalse(self.store.use_join_token(digest("t"), "evil", 1.0))

    def test_another_key_finds_nothing(self) -> None:
        other = open_store(self.path, b"z" * 32)
        self.addCleanup(other.close)
        self.assertIsNone(other.request("r-1"))
        self.assertIsNone(other.password("abcdefgh"))
