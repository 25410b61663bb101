"""Tests for `hoopgw_ssh.replay`: a session's records, told so that a terminal can show them."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.records import (
    FileMoved,
    Intent,
    Result,
    SessionFrozen,
    SessionThawed,
    decode,
    encode,
)
from hoopgw_ssh.replay import SHOWN, replay
from tests.ssh.judge_case import JudgeCase, direct


class FrozenTests(SynchronousTestCase):
    """A session that was stopped for a while."""

    def test_who_did_it(self) -> None:
        """By name, with the reason, safe for a terminal; as the log keeps it."""
        records = (
            SessionFrozen("s", 4, 1, "bob", "corp|bob", "a \x1b[31mlook"),
            SessionThawed("s", 5, 2, "bob", "corp|bob", ""),
        )
        kept = [decode(encode(each)) for each in records]
        self.assertEqual(tuple(kept), records)
        told = [(line.kind, line.text) for line in replay(kept)]
        self.assertEqual([kind for kind, _ in told], ["note", "note"])
        self.assertTrue(told[0][1].startswith("session frozen by bob: a "))
        self.assertNotIn("\x1b", told[0][1])
        self.assertEqual(told[1][1], "session thawed by bob")


class FileTests(SynchronousTestCase):
    """What was done with files."""

    def lines(self, action: str, text: bytes) -> list[str]:
        """Return what is told of an operation that names a file several times."""
        what = ["/a", "/a", "/b"]
        intent = Intent("s", 1, 2, action, what, text, b"", bytes(32), "allow", [], "p")
        return [line.text for line in replay([intent])]

    def test_each_word_once(self) -> None:
        """The text of what is done with a file says it; that of a command does not."""
        self.assertEqual(self.lines("read", b"read /a"), ["read /a", "allowed: read on /a, /b"])
        self.assertEqual(self.lines("exec", b"exec ls")[0], "exec exec ls")


class SessionTests(JudgeCase):
    """Sessions as they are recorded."""

    def replayed(self) -> str:
        """Return all lines of the replay."""
        lines = replay(cast("Any", self.recorder.records))
        return "\n".join(f"{line.kind}: {line.text}" for line in lines)

    def test_a_command_and_a_forward(self) -> None:
        self.rules(
            '@id("see") permit (principal, action, resource) when { principal has issuer };'
            '@id("run") permit (principal, action == Ssh::Action::"run", resource);'
            '@id("tz") permit (principal, action, resource == Ssh::Variable::"TZ");'
        )
        self.exec(b"uname -a", self.pty(), self.env(b"TZ", b"UTC"))
        far, _ = self.far
        far.write(b"Linux\r\n")
        far.request(b"exit-status", bytes(4))
        far.close()
        self.run_all()
        self.opened(b"direct-tcpip", direct("db1", 5432))
        told = self.replayed()
        for line in (
            "note: alice opened web1 as deploy from 192.0.2.7",
            "input: exec uname -a",
            "note: terminal: xterm 80x24\nenvironment: TZ=UTC",
            "decision: allowed: exec on uname -a [run]",
            "output: Linux",
            "note: exit 0, 7 bytes",
            "input: forward db1:5432",
            "decision: refused: forward on db1:5432 - no policy permits alice to forward to",
        ):
            self.assertIn(line, told)

    def test_a_hold(self) -> None:
        self.rules(
            '@id("all") permit (principal, action, resource);'
            '@id("w") @approval("ops") forbid (principal, action == Ssh::Action::"run", resource)'
            ' unless { context.approvals.contains("w") };'
        )
        self.exec(b"reboot")
        self.reviews[0].settle("denied")
        self.run_all()
        told = self.replayed()
        self.assertIn("decision: held for review: exec on reboot [w]", told)
        self.assertIn("decision: review r-0 denied", told)


class HostileTests(SynchronousTestCase):
    """What came from clients and targets does nothing to a terminal."""

    @given(st.binary(max_size=60))
    def test_bytes(self, data: bytes) -> None:
        word = data.decode("utf-8", "replace")
        records = (
            Intent("s", 0, 1, word, [word], data, data, b"", "allow", [word], "", word),
            Result("s", 1, 2, 0, word, 0, 0, 3, data, 5, 7, b"d"),
            FileMoved("s", 2, 3, 0, word, True, 4, b"d", 1, "range"),
        )
        for line in replay(records):
            self.assertTrue(line.text.replace("\n", "").replace("\t", "").isprintable(), line)

    def test_long_outputs_are_cut(self) -> None:
        record = Result("s", 1, 2, 0, "exit 1", 0, 0, 3, b"x" * SHOWN * 2, 5)
        first, *_ = replay([record])
        self.assertEqual((first.kind, len(first.text)), ("error", SHOWN))
