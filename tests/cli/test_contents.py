"""``hoopgw sessions`` over what channels showed: shown, replayed, exported, watched, verified."""

from __future__ import annotations

import base64
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.cli.exporting import watch
from hoopgw.cli.failure import CommandError, RefusedError
from hoopgw.cli.playing import ContentPlayer
from hoopgw.cli.session_sources import Fetched, FolderSource, GatewaySource
from hoopgw.control.views import record_view
from hoopgw.recording.content_frames import FrameKind
from hoopgw.recording.content_reading import contents_of
from hoopgw.streams.asciicast import read_cast
from hoopgw.streams.display import RESET
from tests.cli.support import run
from tests.cli.test_gateway import CommandCase
from tests.control.gateway_case import ALICE, CAROL
from tests.recording.recorded_contents import EXEC, RecordedContents
from tests.recording.samples import VERIFIER, ended

SHOWN = "$ ls\n\x1b[32mgreen\x1b[0m caf\N{LATIN SMALL LETTER E WITH ACUTE}\n"


class FolderCase(SynchronousTestCase):
    """A log and its contents on this machine."""

    def setUp(self) -> None:
        self.state = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.log = self.state / "log"
        self.recorded = RecordedContents(self.log, self.state / "contents")
        self.addCleanup(self.recorded.store.stop)
        self.file = self.state / "contents" / "kept" / "a.0"


class ReplayTests(FolderCase):
    """``sessions replay`` and ``export``, from folders."""

    def setUp(self) -> None:
        super().setUp()
        self.recorded.write(self.recorded.shell("a"))

    def test_replayed_as_text(self) -> None:
        result = run("sessions", "replay", "a", "--log", self.log)
        self.assertEqual(result.status, 0, result.errors)
        self.assertIn("$ ls\ngreen caf\N{LATIN SMALL LETTER E WITH ACUTE}\n", result.output)
        self.assertIn("allowed: shell", result.output)
        self.assertIn("content 0 ended: exit 0", result.output)
        self.assertIn("the terminal has 80x24 now", result.output)
        self.assertNotIn("\x1b", result.output)
        before, after = result.output.split("$ ls")
        self.assertIn("content 0 begins", before)
        self.assertIn("session ended", after)

    def test_one_channel(self) -> None:
        result = run("sessions", "replay", "a", "--log", self.log, "--channel", "0")
        self.assertNotIn("allowed", result.output)
        self.assertIn("$ ls", result.output)
        missing = run("sessions", "replay", "a", "--log", self.log, "--channel", "7")
        self.assertIn("no such content", missing.errors)

    def test_missing_and_changed(self) -> None:
        """Both are said, and the rest is shown all the same."""
        data = self.file.read_bytes()
        self.file.write_bytes(data.replace(b"green", b"brown"))
        changed = run("sessions", "replay", "a", "--log", self.log)
        self.assertIn("content 0 is not what was written", changed.output)
        self.file.unlink()
        missing = run("sessions", "replay", "a", "--log", self.log)
        self.assertIn("content 0 cannot be shown", missing.output)
        self.assertIn("session ended", missing.output)

    def test_asciicast(self) -> None:
        for form, version in (("asciicast", 2), ("asciicast-v3", 3)):
            result = run("sessions", "export", "a", "--log", self.log, "--format", form)
            self.assertEqual(result.status, 0, result.errors)
            cast = read_cast(result.output)
            self.assertEqual((cast.version, cast.columns, cast.rows), (version, 100, 30))
            text = "".join(event.data for event in cast.events if event.code == "o")
            self.assertEqual(text.replace("\r\n", "\n"), SHOWN)

    def test_raw(self) -> None:
        result = run("sessions", "export", "a", "--log", self.log, "--raw")
        text = "".join(event.data for event in read_cast(result.output).events)
        self.assertIn("\x1b]52;c;cm0=\x07", text)

    def test_into_a_file(self) -> None:
        """It is there whole, or not at all."""
        target = self.state / "a.cast"
        done = run("sessions", "export", "a", "--log", self.log, "-o", target)
        self.assertEqual((done.status, done.output), (0, ""))
        read_cast(target.read_text())
        target.unlink()
        self.file.write_bytes(self.file.read_bytes().replace(b"green", b"brown"))
        changed = run("sessions", "export", "a", "--log", self.log, "-o", target)
        self.assertEqual(changed.status, 1)
        self.assertIn("is not what was written", changed.errors)
        self.assertEqual(list(self.state.glob("*.cast*")), [])

    def test_json(self) -> None:
        result = run("sessions", "export", "a", "--log", self.log, "--format", "json")
        lines = [json.loads(line) for line in result.output.splitlines()]
        kinds = [line["kind"] for line in lines if line["line"] == "record"]
        self.assertEqual((kinds[0], kinds[-1]), ("session.started", "session.ended"))
        frames = [line for line in lines if line["line"] == "frame"]
        self.assertEqual((frames[0]["at"], frames[0]["kind"]), (0.5, "output"))
        self.assertEqual(base64.b64decode(frames[0]["data"]), b"$ ")

    def test_several(self) -> None:
        notes = self.recorded.begin("many")
        for _ in range(2):
            content = self.recorded.store.open(notes, EXEC)
            content.write(FrameKind.OUTPUT, b"Linux\n")
            content.end("exit 0")
        notes.records.append(ended("many", len(notes.records)))
        self.recorded.write(notes.records)
        self.recorded.clock.advance(0.1)
        asked = run("sessions", "export", "many", "--log", self.log)
        self.assertIn("choose one with --channel: 0 (exec), 1 (exec)", asked.errors)
        one = run("sessions", "export", "many", "--log", self.log, "--channel", "1")
        self.assertEqual(read_cast(one.output).events[0].data, "Linux\r\n")


class VerifyTests(FolderCase):
    """``sessions verify`` reads the contents, too."""

    def setUp(self) -> None:
        super().setUp()
        self.recorded.write(self.recorded.shell("a"))
        self.verify = ("sessions", "verify", self.log, "--key", VERIFIER.encode())

    def test_good(self) -> None:
        result = run(*self.verify)
        self.assertEqual(result.status, 0, result.errors)
        self.assertIn(f"1, {self.file.stat().st_size} bytes verified", result.output)
        self.assertEqual(run(*self.verify, "--json").json["contents"], 1)

    def test_changed(self) -> None:
        self.file.write_bytes(self.file.read_bytes().replace(b"green", b"brown"))
        result = run(*self.verify)
        self.assertEqual(result.status, 1)
        self.assertIn("contents, a.0: what is before byte", result.output)
        unread = run(*self.verify, "--no-contents")
        self.assertEqual(unread.status, 0)
        self.assertIn("1, not read", unread.output)

    def test_missing(self) -> None:
        self.file.unlink()
        result = run(*self.verify)
        self.assertIn("no record says that it was removed", result.output)


class PlayerTests(FolderCase):
    """On a terminal, in time."""

    def play(self, speed: float | None, max_pause: float = 3.0) -> tuple[list[float], str]:
        self.recorded.write(self.recorded.shell("a"))
        source = FolderSource(self.log, self.state / "contents")
        (content,) = contents_of(source.records("a")).values()
        stream, waited = io.StringIO(), list[float]()
        console = Console(file=stream, force_terminal=True, width=80, height=24)
        player = ContentPlayer(
            console=console, speed=speed, max_pause=max_pause, sleep=waited.append
        )
        player.play(content, Fetched(source, content).frames())
        return waited, stream.getvalue()

    def test_as_it_was_shown(self) -> None:
        """Nothing but a picture comes to the terminal, which is as it was at the end."""
        _, text = self.play(None)
        self.assertIn("\x1b[32mgreen\x1b[0m caf\N{LATIN SMALL LETTER E WITH ACUTE}", text)
        self.assertNotIn("]52", text)
        self.assertTrue(text.rstrip().endswith(RESET))
        self.assertIn("This terminal has 80x24, which is less", text)
        self.assertIn("is left out", text)

    def test_in_time(self) -> None:
        waited, _ = self.play(2.0, max_pause=1.0)
        self.assertEqual([round(each, 3) for each in waited], [0.25, 0.5, 0.05, 0.1, 1.0])


class GatewayTests(CommandCase):
    """The same, asked of a gateway."""

    def setUp(self) -> None:
        super().setUp()
        self.recorded = RecordedContents(self.config.paths.log, self.config.paths.contents)
        self.addCleanup(self.recorded.store.stop)

    async def test_shown_replayed_and_exported(self) -> None:
        self.recorded.write(self.recorded.shell("a"))
        shown = await self.hoopgw(ALICE, "sessions", "show", "a")
        self.assertEqual(shown.status, 0, shown.errors)
        self.assertRegex(shown.output, r"0 +shell +output +\d+ +exit 0 +[0-9a-f]{64}")
        replayed = await self.hoopgw(ALICE, "sessions", "replay", "a")
        self.assertIn("$ ls\ngreen", replayed.output)
        exported = await self.hoopgw(ALICE, "sessions", "export", "a")
        self.assertEqual(len(read_cast(exported.output).events), 4)
        other = await self.hoopgw(CAROL, "sessions", "export", "a")
        self.assertEqual(other.status, 1)

    async def test_one_that_is_over_is_not_watched(self) -> None:
        self.recorded.write(self.recorded.shell("a"))
        result = await self.hoopgw(ALICE, "sessions", "watch", "a")
        self.assertIn("is over: see it with hoopgw sessions replay", result.errors)


class WatchTests(FolderCase):
    """A session that goes on, told by a gateway of the test's own."""

    def api(self, lives: Iterator[bool]) -> FakeApi:
        return FakeApi(FolderSource(self.log, self.state / "contents"), lives)

    def test_until_it_ends(self) -> None:
        notes = self.recorded.begin("a")
        content = self.recorded.store.open(notes, EXEC)
        content.write(FrameKind.OUTPUT, b"one\n")
        self.recorded.write(notes.records)
        steps = iter([b"two\n", b"", None])

        def go_on(_seconds: float) -> None:
            step = next(steps, b"")
            if step is None:
                content.end("exit 0")
                self.recorded.clock.advance(0.1)
            elif step:
                content.write(FrameKind.OUTPUT, step)

        stream = io.StringIO()
        api = self.api(iter([True, False]))
        watch(api, "a", None, Console(file=stream), go_on)  # type: ignore[arg-type]  # two methods
        self.assertIn("one\ntwo\n", stream.getvalue())

    def test_nothing_to_watch(self) -> None:
        self.recorded.write(self.recorded.begin("a").records)
        waited: list[float] = []
        forever = iter(lambda: True, False)
        with self.assertRaises(CommandError):
            watch(self.api(forever), "a", None, Console(file=io.StringIO()), waited.append)  # type: ignore[arg-type]  # as above
        self.assertGreater(len(waited), 5)

    def test_asked_too_often(self) -> None:
        """It waits, and asks again; what is refused for another reason is."""
        self.recorded.write(self.recorded.shell("a"))
        api = self.api(iter(()))
        api.refusals = ["slow_down", "slow_down"]
        waited: list[float] = []
        source = GatewaySource(api, waited.append)  # type: ignore[arg-type]  # as above
        self.assertTrue(source.page("a", 0, 0).is_last)
        self.assertEqual(len(waited), 2)
        api.refusals = ["not_found"]
        self.assertRaises(RefusedError, source.page, "a", 0, 0)


class FakeApi:
    """Answers as a gateway would, from folders."""

    def __init__(self, source: FolderSource, lives: Iterator[bool]) -> None:
        self.source, self.lives = source, lives
        self.refusals: list[str] = []

    def get(self, path: str, **query: object) -> object:
        if self.refusals:
            raise RefusedError("no", self.refusals.pop(0))
        parts = path.split("/")[2:]
        if parts[-1] == "records":
            kept = self.source.records(parts[1])
            return {"records": [record_view(record) for record in kept], "next": None}
        if len(parts) == 2:
            return {"live": next(self.lives)}
        after = query["after"]
        assert isinstance(after, int)
        page = self.source.page(parts[1], int(parts[3]), after)
        data = base64.b64encode(page.data).decode()
        return {"data": data, "next": page.next, "ended": page.has_ended, "last": page.is_last}
