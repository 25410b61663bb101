"""What hoopgw-recording(5) tells auditors to do, done: no code of ours takes part."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.segments import segments
from tests.recording.samples import ORIGIN, VERIFIER, encoded, fill, opened, whole_session
from tests.support.processes import TOP

PAGE = TOP / "man" / "hoopgw-recording.5"
_ESCAPES = {"\\e": "\\", "\\-": "-", "\\(ha": "^", "\\(aq": "'"}


def examples() -> list[str]:
    """Return the page's examples as a reader copies them."""
    found = re.findall(r"^\.EX\n(.*?)^\.EE$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return [
        re.sub(r"\\(?:e|-|\(ha|\(aq)", lambda escape: _ESCAPES[escape[0]], text) for text in found
    ]


class ManualTests(SynchronousTestCase):
    """The two programs of the page, on a log of several segments."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.log = self.folder / "log"
        log = opened(self.log, 1000).writer
        fill(log, encoded(whole_session("s", 100)))
        log.close()
        _, self.program, self.commands = examples()

    def verify(self) -> subprocess.CompletedProcess[str]:
        """Run the program, with nothing but the standard library in reach."""
        command = [sys.executable, "-I", "-c", self.program, str(self.log)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def check_signature(self) -> subprocess.CompletedProcess[str]:
        (self.folder / "verifier").write_text(VERIFIER.encode() + "\n")
        script = self.commands.replace(" gw1 ", f" {ORIGIN} ")
        command = ["sh", "-eu", "-c", script]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder)

    def test_a_good_log(self) -> None:
        done = self.verify()
        self.assertEqual(done.stderr, "")
        self.assertIn("202 records are those", done.stdout)

    def test_records_behind_the_checkpoint(self) -> None:
        log = opened(self.log, 1000).writer
        fill(log, [b"more"], sign=False)
        log.close()
        self.assertEqual(self.verify().returncode, 0)

    def test_a_changed_byte(self) -> None:
        path = segments(self.log)[1].path
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        self.assertIn("is damaged", self.verify().stderr)

    def test_a_missing_segment(self) -> None:
        segments(self.log)[-1].path.unlink()
        self.assertIn("202 records are signed", self.verify().stderr)

    def test_another_root(self) -> None:
        path = self.log / "checkpoint"
        lines = path.read_text().split("\n")
        lines[2] = "A" * 43 + "="
        path.write_text("\n".join(lines))
        self.assertIn("not those that were signed", self.verify().stderr)

    def test_a_good_signature(self) -> None:
        done = self.check_signature()
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)

    def test_a_wrong_signature(self) -> None:
        path = self.log / "checkpoint"
        path.write_text(path.read_text().replace("\n202\n", "\n201\n"))
        self.assertNotEqual(self.check_signature().returncode, 0)
