"""Tests for ``hoopgw sessions`` over a log that was really written."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.cli.replaying import PAUSE_LIMIT, Player, lines_of, moment_of
from hoopgw.recording.index import SessionIndex
from hoopgw.recording.records import AnyRecord, Intent, SessionStarted, encode
from hoopgw.spi import ReplayLine
from tests.cli.support import run
from tests.cli.test_gateway import CommandCase
from tests.control.gateway_case import AUDITOR, CAROL
from tests.recording.samples import VERIFIER, fill, intent, opened, started, whole_session

NASTY = b"select '\x1b]0;owned\x07' -- \xe2\x80\xae"


def write(folder: Path, records: list[AnyRecord]) -> None:
    """Write a log as the recorder does, with its index."""
    log = opened(folder).writer
    fill(log, [encode(record) for record in records])
    SessionIndex.open(folder, log.size).close()
    log.close()


class FolderTests(SynchronousTestCase):
    """``verify`` and ``replay --log``: no gateway, only files."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory())) / "log"
        write(self.folder, [*whole_session("a"), started("b"), intent("b", 1, NASTY)])

    def test_verified(self) -> None:
        """With the key that one kept, or the one beside the log, which is said."""
        good = run("sessions", "verify", self.folder, "--key", VERIFIER.encode())
        self.assertEqual(good.status, 0, good.errors)
        self.assertIn("the log is what was written", good.output)
        self.assertNotIn("elsewhere", good.output)
        beside = run("sessions", "verify", self.folder)
        self.assertEqual(beside.status, 0)
        self.assertIn("keep elsewhere", beside.output)
        as_json = run("sessions", "verify", self.folder, "--json").json
        self.assertEqual((as_json["ok"], as_json["records"], as_json["signed"]), (True, 8, 8))
        self.assertEqual(as_json["key"], VERIFIER.encode())

    def test_a_key_in_a_file(self) -> None:
        """An auditor keeps it in one."""
        kept = self.folder.parent / "kept"
        kept.write_text(VERIFIER.encode() + "\n")
        self.assertEqual(run("sessions", "verify", self.folder, "--key", kept).status, 0)

    def test_a_changed_word(self) -> None:
        """Status 1, and where."""
        segment = next(p for p in self.folder.iterdir() if b"select 1" in p.read_bytes())
        segment.write_bytes(segment.read_bytes().replace(b"select 1", b"select 2", 1))
        result = run("sessions", "verify", self.folder, "--key", VERIFIER.encode())
        self.assertEqual(result.status, 1)
        self.assertIn("is not what was written", result.errors)
        self.assertIn(segment.name, result.output)
        self.assertFalse(run("sessions", "verify", self.folder, "--json").json["ok"])

    def test_another_key(self) -> None:
        """A log signed by somebody else is not accepted; a broken key is said to be one."""
        other = VERIFIER.encode().replace("gw1.example", "gw2.example")
        self.assertEqual(run("sessions", "verify", self.folder, "--key", other).status, 1)
        broken = run("sessions", "verify", self.folder, "--key", "x+y+z")
        self.assertIn("the key is not good", broken.errors)

    def test_no_log(self) -> None:
        """A folder that is none, or has no key."""
        self.assertEqual(run("sessions", "verify", self.folder / "none").status, 1)
        (self.folder / "verifier").unlink()
        missing = run("sessions", "verify", self.folder)
        self.assertIn("give the log's public key with --key", missing.errors)

    def test_replayed(self) -> None:
        """What was asked, decided and answered; nothing reaches the terminal as a command."""
        result = run("sessions", "replay", "a", "--log", self.folder)
        self.assertEqual(result.status, 0, result.errors)
        self.assertIn("> select 1", result.output)
        self.assertIn("alice/planner opened orders as reader", result.output)
        nasty = run("sessions", "replay", "b", "--log", self.folder)
        self.assertIn("\\x1b]0;owned\\x07' -- \\u202e", nasty.output)
        self.assertNotIn("\x1b", nasty.output)
        self.assertEqual(run("sessions", "replay", "c", "--log", self.folder).status, 1)

    def test_replayed_as_json(self) -> None:
        """For programs."""
        lines = run("sessions", "replay", "a", "--log", self.folder, "--json").json
        self.assertEqual([line["kind"] for line in lines][:2], ["note", "input"])


class GatewayTests(CommandCase):
    """The same, asked of a gateway."""

    async def test_listed_shown_and_replayed(self) -> None:
        """By somebody who oversees; the bytes are those of the log."""
        many = whole_session("many", operations=120)
        write(self.config.paths.log, [*whole_session("a"), *many])
        listed = await self.hoopgw(AUDITOR, "sessions", "list")
        self.assertEqual(listed.status, 0, listed.errors)
        self.assertIn("alice/planner", listed.output)
        shown = await self.hoopgw(AUDITOR, "sessions", "show", "a")
        self.assertIn("the client went away", shown.output)
        replayed = await self.hoopgw(AUDITOR, "sessions", "replay", "a")
        self.assertIn("> select 1", replayed.output)
        long = await self.hoopgw(AUDITOR, "sessions", "replay", "many")
        self.assertEqual(long.output.count("> select 1"), 120)

    async def test_not_for_others(self) -> None:
        """As if it were not there."""
        write(self.config.paths.log, whole_session("a"))
        listed = await self.hoopgw(CAROL, "sessions", "list")
        self.assertEqual(listed.output, "there are no sessions\n")
        self.assertEqual((await self.hoopgw(CAROL, "sessions", "replay", "a")).status, 1)


class PlayerTests(SynchronousTestCase):
    """Timing and colours."""

    def play(self, speed: float | None, *moments: int) -> tuple[list[float], str]:
        stream, waited = io.StringIO(), list[float]()
        console = Console(file=stream, force_terminal=True, width=80)
        player = Player(console=console, speed=speed, sleep=waited.append)
        player.play(ReplayLine(at=at, kind="input", text="x\x1b[2J") for at in moments)
        return waited, stream.getvalue()

    def test_speed(self) -> None:
        """Twice as fast is half the wait; long pauses are cut; time never runs backwards."""
        second = 10**9
        waited, _ = self.play(2.0, 0, second, second, 100 * second, second)
        self.assertEqual(waited, [0.5, 0.0, PAUSE_LIMIT, 0.0])
        self.assertEqual(self.play(None, 0, second)[0], [])

    def test_escaped_again(self) -> None:
        """Even if a protocol forgets to."""
        self.assertNotIn("\x1b[2J", self.play(None, 0)[1])

    def test_moments(self) -> None:
        """Any number is shown somehow."""
        self.assertRegex(moment_of(10**18), r"^\d\d:\d\d:\d\d\.000$")
        self.assertEqual(moment_of(2**70), "??:??:??.???")

    def test_a_protocol_that_is_not_installed(self) -> None:
        """Its records are shown plainly."""
        first = started("s")
        strange = SessionStarted(
            **{name: getattr(first, name) for name in first.__struct_fields__}
            | {"protocol": "gopher"}
        )
        lines = list(lines_of([strange, intent("s", 1)]))
        self.assertEqual(len(lines), 2)
        self.assertIn("gopher", lines[0].text)

    def test_records_without_a_beginning(self) -> None:
        """A damaged recording is shown too."""
        only: list[AnyRecord] = [intent("s", 1)]
        assert isinstance(only[0], Intent)
        self.assertIn("select 1", next(iter(lines_of(only))).text)
