"""Tests for `hoopgw_ssh.judge`: connections through the host, files, and what ends later."""

from __future__ import annotations

from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, succeed

from hoopgw.errors import RecorderError, UnavailableError
from hoopgw.recording.content_frames import FrameKind
from hoopgw_ssh.channels import PROHIBITED
from hoopgw_ssh.files import FileOperation, FileResult, PathUse, Transfer
from hoopgw_ssh.wire import string
from tests.ssh.judge_case import ALL, JudgeCase, direct, names

HELD_TUNNELS = """
@id("all") permit (principal, action, resource);
@id("four-eyes") @approval("ops") forbid (principal, action in Ssh::Action::"tunnels", resource)
  unless { context.approvals.contains("four-eyes") };
"""


class ForwardTests(JudgeCase):
    """Connections that a client wants through the host."""

    def refused(self, kind: bytes, extra: bytes) -> str:
        """Return why a channel is not opened."""
        events = self.opened(kind, extra).events
        self.assertEqual(events[0][:2], ("refused", PROHIBITED))
        return str(events[0][2].decode())

    def test_by_destination(self) -> None:
        self.rules('@id("db") permit (principal, action, resource in Ssh::Endpoint::"db1");')
        taker = self.opened(b"direct-tcpip", direct("DB1.", 5432))
        self.assertEqual(names(taker.events), ["confirmed"])
        (intent,) = self.intents()
        self.assertEqual((intent.action, intent.resources), ("forward", ["db1:5432"]))
        self.assertIn("no policy permits", self.refused(b"direct-tcpip", direct("db2", 5432)))
        self.assertEqual(self.intents()[-1].decision, "deny")

    def test_bytes_are_counted(self) -> None:
        taker = self.opened(b"direct-tcpip", direct("db1", 5432))
        far, _ = self.far
        assert taker.channel is not None
        taker.channel.write(b"question")
        far.write(b"answers")
        far.write(b"more")
        self.run_all()
        far.close()
        self.run_all()
        (result,) = self.results()
        self.assertEqual((result.outcome, result.sent, result.received), ("closed", 11, 8))

    def test_what_the_target_does_not_open(self) -> None:
        self.target.confirms = False
        taker = self.opened(b"direct-tcpip", direct("db1", 5432))
        self.target.openings[-1][1].refuse(2, "no route")
        self.run_all()
        self.assertEqual(taker.events, [("refused", 2, b"no route")])
        self.assertEqual(self.results()[0].outcome, "FAILED: not opened: no route")

    def test_places_that_none_leads_to(self) -> None:
        """Whatever policy says; the record names no policy."""
        for host, port in (
            ("localhost", 80),
            ("127.0.0.1", 5432),
            ("169.254.169.254", 80),
            ("db1", 22),
            ("gw.example", 443),
            ("0x7f.1", 80),
            ("::ffff:127.0.0.1", 80),
        ):
            self.assertIn("no forward leads", self.refused(b"direct-tcpip", direct(host, port)))
            intent = self.intents()[-1]
            self.assertEqual((intent.decision, intent.input), ("deny", b""))
        self.assertFalse(self.target.openings)

    def test_a_target_lifts_it_for_one_place(self) -> None:
        self.options = {"forwards": ["127.0.0.1:5432"]}
        self.begin()
        taker = self.opened(b"direct-tcpip", direct("127.0.0.1", 5432))
        self.assertEqual(names(taker.events), ["confirmed"])
        self.refused(b"direct-tcpip", direct("127.0.0.1", 5433))
        self.rules('@id("none") permit (principal, action == Ssh::Action::"connect", resource);')
        self.refused(b"direct-tcpip", direct("127.0.0.1", 5432))

    def test_malformed(self) -> None:
        for extra in (
            b"",
            direct("db1", 70_000),
            direct("db1", 80) + b"x",
            direct("a\nb", 80),
            direct("/run/x", 80),
        ):
            self.refused(b"direct-tcpip", extra)
        for path in (b"run/x", b"/run/../x", b"\xff"):
            extra = string(path) + string(b"") + bytes(4)
            self.refused(b"direct-streamlocal@openssh.com", extra)
        self.refused(b"tun@openssh.com", b"")
        self.assertFalse(self.target.openings)

    def test_held(self) -> None:
        """Who waits is told on a channel that has a standard error, if there is one."""
        self.rules(HELD_TUNNELS)
        _, shell = self.exec(b"sleep 100")
        taker = self.opened(b"direct-tcpip", direct("db1", 5432))
        self.assertEqual(taker.events, [])
        self.assertIn("held for approval by ops: request r-0", self.told(shell))
        self.reviews[0].settle("approved")
        self.run_all()
        self.assertEqual(names(taker.events), ["confirmed"])

    def test_ended_when_it_is_not_allowed_any_more(self) -> None:
        """A forward is closed; it has no standard error to say why on."""
        taker = self.opened(b"direct-tcpip", direct("db1", 5432))
        self.rules('@id("c") permit (principal, action == Ssh::Action::"connect", resource);')
        self.assertIsNone(self.judge.reconsider())
        self.run_all()
        self.assertEqual(names(taker.events), ["confirmed", "eof", "closed"])
        self.assertIn("granted for a while is over", self.results()[0].outcome)


class ListenTests(JudgeCase):
    """Connections that come from where a target listens."""

    where = string(b"localhost") + (8080).to_bytes(4, "big")

    def test_listening(self) -> None:
        """What comes is taken from where it was asked to listen, and nowhere else."""
        self.assertTrue(self.asked(b"tcpip-forward", self.where))
        taker = self.from_target(b"forwarded-tcpip", direct("localhost", 8080))
        self.assertEqual(names(taker.events), ["confirmed"])
        for host, port in (("localhost", 8081), ("other", 8080), ("", 8080)):
            taker = self.from_target(b"forwarded-tcpip", direct(host, port))
            self.assertEqual(names(taker.events), ["refused"])
        self.assertEqual([each.action for each in self.intents()], ["listen", "listen"])

    def test_a_port_of_the_target_s_choice(self) -> None:
        self.asked(b"tcpip-forward", string(b"localhost") + bytes(4))
        taker = self.from_target(b"forwarded-tcpip", direct("localhost", 31_234))
        self.assertEqual(names(taker.events), ["confirmed"])

    def test_no_more(self) -> None:
        self.asked(b"tcpip-forward", self.where)
        self.assertTrue(self.asked(b"cancel-tcpip-forward", self.where))
        self.assertEqual(self.results()[-1].outcome, "cancelled")
        taker = self.from_target(b"forwarded-tcpip", direct("localhost", 8080))
        self.assertEqual(names(taker.events), ["refused"])
        self.assertFalse(self.asked(b"cancel-tcpip-forward", self.where))

    def test_refused(self) -> None:
        self.rules('@id("c") permit (principal, action == Ssh::Action::"connect", resource);')
        self.assertFalse(self.asked(b"tcpip-forward", self.where))
        self.assertFalse(self.asked(b"streamlocal-forward@openssh.com", string(b"/run/x")))
        self.assertFalse(self.asked(b"something@else", b""))
        self.assertFalse(self.target.requests)

    def test_sockets(self) -> None:
        self.assertTrue(self.asked(b"streamlocal-forward@openssh.com", string(b"/run/x")))
        kind = b"forwarded-streamlocal@openssh.com"
        taker = self.from_target(kind, string(b"/run/x") + string(b""))
        self.assertEqual(names(taker.events), ["confirmed"])
        taker = self.from_target(kind, string(b"/run/y") + string(b""))
        self.assertEqual(names(taker.events), ["refused"])

    def test_what_is_not_allowed_any_more(self) -> None:
        self.asked(b"tcpip-forward", self.where)
        self.rules('@id("c") permit (principal, action == Ssh::Action::"connect", resource);')
        taker = self.from_target(b"forwarded-tcpip", direct("localhost", 8080))
        self.assertEqual(names(taker.events), ["refused"])

    def test_agents_and_screens(self) -> None:
        """The target gets at them where a client has asked for that, and policy allowed it."""
        for kind in (b"auth-agent@openssh.com", b"x11"):
            self.assertEqual(names(self.from_target(kind, b"").events), ["refused"])
        self.assertTrue(self.asked_of_channel(b"auth-agent-req@openssh.com", b""))
        taker = self.from_target(b"auth-agent@openssh.com", b"")
        self.assertEqual(names(taker.events), ["confirmed"])
        self.assertEqual(names(self.from_target(b"x11", b"").events), ["refused"])
        self.assertEqual(names(self.from_target(b"session", b"").events), ["refused"])

    def test_where_it_listens_at_the_end(self) -> None:
        self.asked(b"tcpip-forward", self.where)
        self.judge.close("the client left")
        self.assertEqual(self.results()[-1].outcome, "ended: the client left")


class SettingTests(JudgeCase):
    """What is set before something is started."""

    def test_variables(self) -> None:
        """A refused one is not set; what runs, runs."""
        self.rules(
            '@id("run") permit (principal, action == Ssh::Action::"run", resource);'
            '@id("env") permit (principal, action, resource == Ssh::Variable::"LANG");'
        )
        self.exec(b"id", self.env(b"LANG", b"C"), self.env(b"LC_X", b"1"))
        self.assertEqual(names(self.reached), [b"env", b"exec"])
        self.assertEqual(self.intents()[-1].parameters, b"environment: LANG=C")

    def test_variables_that_are_never_set(self) -> None:
        for name in (b"LD_PRELOAD", b"PATH", b"BASH_ENV", b"GIT_SSH_COMMAND", b"PYTHONPATH"):
            self.exec(b"id", self.env(name, b"x"))
            self.assertEqual(names(self.reached), [b"exec"], name)

    def test_too_many_variables(self) -> None:
        many = [self.env(b"V%d" % number, b"x") for number in range(70)]
        self.exec(b"id", *many)
        self.assertEqual(names(self.reached), [b"env"] * 64 + [b"exec"])

    def test_policy_sees_the_terminal(self) -> None:
        self.rules(
            '@id("t") permit (principal, action == Ssh::Action::"run", resource)'
            " when { context.pty && context.columns == 80 && context.rows == 24 };"
        )
        self.exec(b"id", self.pty())
        self.assertEqual(names(self.reached), [b"pty-req", b"exec"])
        _, taker = self.exec(b"id", self.pty(81))
        self.assertEqual(self.status(taker), 77)
        _, taker = self.exec(b"id")
        self.assertEqual(self.status(taker), 77)

    def test_shells_and_subsystems(self) -> None:
        self.rules('@id("s") permit (principal, action, resource == Ssh::Subsystem::"sftp");')
        self.start(b"subsystem", string(b"sftp"))
        self.assertEqual(names(self.reached), [b"subsystem"])
        for name, data in ((b"subsystem", string(b"netconf")), (b"shell", b"")):
            _, taker = self.start(name, data)
            self.assertEqual(self.status(taker), 77)
        self.assertIn("to open a shell on web1", self.told(taker))

    def test_what_goes_on(self) -> None:
        """Signals and sizes go to what runs; what is not known goes nowhere."""
        channel, _ = self.exec(b"top", self.pty())
        channel.request(b"window-change", bytes(16))
        channel.request(b"signal", string(b"INT"))
        channel.request(b"something@else", b"")
        self.run_all()
        wanted = [b"pty-req", b"exec", b"window-change", b"signal"]
        self.assertEqual(names(self.reached), wanted)


class ChannelTests(JudgeCase):
    """Requests where they have no place."""

    def test_on_a_forward(self) -> None:
        """Nothing is started on a channel that is for something else."""
        taker = self.opened(b"direct-tcpip", direct("db1", 5432))
        assert taker.channel is not None
        taker.channel.request(b"exec", string(b"id"), lambda _ok: None)
        self.run_all()
        self.assertNotIn(b"exec", names(self.reached))

    def test_behind_a_start(self) -> None:
        """What was approved with one terminal, or without an agent, keeps it so."""
        channel, _ = self.exec(b"id")
        for name, data in (self.pty(), self.env(b"A", b"b"), (b"auth-agent-req@openssh.com", b"")):
            channel.request(name, data)
        channel.request(b"exec", string(b"rm"))
        self.run_all()
        self.assertEqual(names(self.reached), [b"exec"])


class EndTests(JudgeCase):
    """What ends because it is not allowed any more."""

    def test_a_command_that_runs(self) -> None:
        _, taker = self.exec(b"sleep 100")
        self.rules('@id("c") permit (principal, action == Ssh::Action::"connect", resource);')
        self.assertIsNone(self.judge.reconsider())
        self.run_all()
        self.assertEqual(self.status(taker), 77)
        self.assertIn("granted for a while is over", self.told(taker))
        self.assertIn("closed", self.reached)

    def test_a_file_that_is_open(self) -> None:
        """Its channel ends."""
        uses = (PathUse("read", "/srv/a", "/srv/a"),)
        operation = FileOperation(action="read", uses=uses, text="read /srv/a", sent=b"")
        ends: list[str] = []
        self.judge.file(operation, lambda _text: None, ends.append)
        self.judge.reconsider()
        self.assertEqual(ends, [])
        self.rules('@id("c") permit (principal, action == Ssh::Action::"connect", resource);')
        self.judge.reconsider()
        self.assertIn("granted for a while is over", ends[0])

    def test_how_it_came_out_cannot_be_recorded(self) -> None:
        """Then nothing goes on."""
        channel, _ = self.exec(b"id")
        self.patch(self.recorder, "put_off_encoded", self.refuse)
        self.patch(self.recorder, "put_off", self.refuse)
        self.far[0].close()
        channel.close()
        self.run_all()
        self.assertIn("cannot be recorded", self.ends[0])

    def refuse(self, _record: object) -> None:
        """Take no record."""
        raise RecorderError("the disk is full")

    def test_what_is_allowed_goes_on(self) -> None:
        _, taker = self.exec(b"sleep 100")
        self.assertIsNone(self.judge.reconsider())
        self.run_all()
        self.assertEqual(names(taker.events), ["confirmed"])


@define
class FakePurse:
    """What may be used still."""

    left: dict[str, int]
    reserve: int = 0
    """Bytes that can be had by asking."""
    away: bool = False

    def spend(self, names: tuple[str, ...]) -> bool:
        """Use one of each."""
        if any(self.left.get(name, 1) < 1 for name in names):
            return False
        for name in names:
            self.left[name] = self.left.get(name, 1) - 1
        return True

    def fund(self, names: tuple[str, ...]) -> Deferred[str]:
        """Say no."""
        return succeed(f"the budget of alice has no {names[0]} left")

    def room(self, name: str) -> int | None:
        """Return what is at hand."""
        return self.left.get(name)

    def more(self, amounts: dict[str, int]) -> Deferred[str]:
        """Take from the reserve."""
        if self.away:
            raise UnavailableError("control is away")
        if amounts["bytes"] > self.left["bytes"] + self.reserve:
            return succeed("the budget of alice has no bytes left")
        self.left["bytes"], self.reserve = self.left["bytes"] + self.reserve, 0
        return succeed("")

    def used(self, amounts: dict[str, int]) -> None:
        """Count it."""
        for name, count in amounts.items():
            self.left[name] -= count


class BudgetTests(JudgeCase):
    """What is paid for."""

    def begin_with(self, **left: int) -> FakePurse:
        """Begin again, with a budget."""
        self.purse = FakePurse(left)
        self.begin()
        purse: FakePurse = self.purse
        return purse

    def test_operations(self) -> None:
        self.begin_with(operations=1)
        self.exec(b"id")
        self.assertEqual(names(self.reached), [b"exec"])
        _, taker = self.exec(b"id")
        self.assertIn("the budget of alice has no operations left", self.told(taker))
        self.assertEqual(self.status(taker), 77)

    def test_bytes_of_output(self) -> None:
        """No more is shown than was paid for, of all that runs."""
        purse = self.begin_with(bytes=5)
        purse.reserve = 5
        _, taker = self.exec(b"cat x")
        far, _ = self.far
        for piece in (b"abcd", b"efgh", b"ijkl"):
            far.write(piece)
            self.run_all()
        self.assertEqual(taker.text, b"abcdefgh")
        self.assertIn("the budget of alice has no bytes left", self.told(taker))
        self.assertEqual(self.status(taker), 77)
        self.assertEqual(self.contents.opened[0].of(FrameKind.OUTPUT), b"abcdefgh")

    def test_nobody_knows(self) -> None:
        purse = self.begin_with(bytes=5)
        purse.away = True
        _, taker = self.exec(b"cat x")
        self.far[0].write(b"123456")
        self.run_all()
        self.assertEqual(taker.text, b"")
        self.assertIn("cannot be charged", self.told(taker))


class FileTests(JudgeCase):
    """What is done to files, as their inspectors ask."""

    def ask_about(self, action: Any, *paths: str) -> tuple[Any, list[str]]:
        """Ask; return the ruling, and what was said meanwhile."""
        said: list[str] = []
        operation = FileOperation(
            action=action,
            uses=tuple(PathUse(action, path, path) for path in paths),
            text=f"{action} {' '.join(paths)}",
            sent=b"request",
        )
        ruled: list[Any] = []
        self.judge.file(operation, said.append).addCallback(ruled.append)
        return (ruled[0] if ruled else None), said

    def test_by_folder(self) -> None:
        self.rules('@id("srv") permit (principal, action, resource in Ssh::Path::"/srv");')
        ruling, _ = self.ask_about("write", "/srv/a/b")
        self.assertTrue(ruling.allowed)
        moved = Transfer(
            path="/srv/a/b", is_upload=True, size=9, digest=b"d" * 32, offset=0, extent="whole"
        )
        self.judge.finished(ruling.intent, FileResult(outcome="OK", transfers=(moved,)))
        (result,) = self.results()
        self.assertEqual((result.outcome, result.received), ("OK", 9))
        self.assertEqual(result.received_digest, b"d" * 32)
        for paths in (("/srvx/a",), ("/etc/x",), ("/srv/a", "/etc/b"), ("~/x",)):
            ruling, _ = self.ask_about("rename", *paths)
            self.assertFalse(ruling.allowed, paths)

    def test_both_names_of_a_link(self) -> None:
        """What was asked for, and where it leads, must both be allowed."""
        self.rules('@id("srv") permit (principal, action, resource in Ssh::Path::"/srv");')
        for path, written in (("/etc/x", "/srv/x"), ("/srv/x", "/etc/x")):
            uses = (PathUse("read", path, written),)
            operation = FileOperation(action="read", uses=uses, text="read x", sent=b"")
            ruled: list[Any] = []
            self.judge.file(operation, lambda _text: None).addCallback(ruled.append)
            self.assertFalse(ruled[0].allowed)

    def test_held(self) -> None:
        self.rules(
            ALL + '@id("w") @approval("ops") forbid (principal, action in Ssh::Action::"writes",'
            ' resource) unless { context.approvals.contains("w") };'
        )
        ruling, said = self.ask_about("remove", "/srv/a")
        self.assertIsNone(ruling)
        self.assertIn("request r-0", said[0])
        self.assertIn("remove /srv/a", self.reviews[0].operation.text)
