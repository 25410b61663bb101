"""Tests for `hoopgw.logs`."""

from __future__ import annotations

import io
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.logs import VALUE_LIMIT, JsonLines, json_line


class Broken:
    """Something whose repr fails."""

    def __repr__(self) -> str:
        raise ZeroDivisionError


class LogTests(SynchronousTestCase):
    """One event is one line of JSON."""

    def setUp(self) -> None:
        self.stream = io.StringIO()
        self.log = Logger("test.room", observer=LogPublisher(JsonLines("control", self.stream)))

    def lines(self) -> list[dict[str, Any]]:
        """Return what was written."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def test_a_line_has_its_fields(self) -> None:
        self.log.info("session {session} of {size} bytes", session="s-1", size=7, ready=True)
        (line,) = self.lines()
        self.assertEqual(line["text"], "session s-1 of 7 bytes")
        self.assertEqual(line["fields"], {"session": "s-1", "size": 7, "ready": True})
        self.assertEqual(
            (line["level"], line["role"], line["from"]), ("info", "control", "test.room")
        )
        self.assertTrue(line["at"].endswith("+00:00"))

    def test_secrets_are_in_neither_text_nor_fields(self) -> None:
        """Even if a call to the log slips."""
        names = ("token", "password", "access_token", "client_secret", "store_key", "Authorization")
        for name in names:
            self.log.info("got {" + name + "}", **{name: "hunter2"})
        self.assertNotIn("hunter2", self.stream.getvalue())
        self.assertEqual(len(self.lines()), len(names))
        self.log.info("{token_keys} keys, {monkey}", token_keys=2, monkey="fine")
        self.assertEqual(self.lines()[-1]["text"], "2 keys, fine")

    def test_a_failure_brings_its_traceback(self) -> None:
        try:
            raise KeyError("missing")
        except KeyError:
            self.log.failure("it broke")
        (line,) = self.lines()
        self.assertIn("KeyError", line["failure"])
        self.assertEqual(line["level"], "critical")

    def test_what_cannot_be_formatted_is_a_line_all_the_same(self) -> None:
        self.log.info("{x.y.z} {unknown}", x=1)
        self.log.info("{broken}", broken=Broken())
        self.log.info("long", text="x" * 10 * VALUE_LIMIT)
        self.assertEqual(len(self.lines()), 3)
        self.assertLess(len(self.stream.getvalue()), 3 * VALUE_LIMIT)

    def test_old_style_events_are_taken(self) -> None:
        event = {
            "log_time": 1.0,
            "log_format": "{log_text}",
            "log_text": "from a library",
            "message": ("from a library",),
            "isError": 1,
            "log_failure": Failure(ZeroDivisionError()),
        }
        line = json.loads(json_line("worker", event))
        self.assertEqual(line["text"], "from a library")
        self.assertNotIn("fields", line)

    @given(st.dictionaries(st.text(max_size=8), st.text() | st.binary() | st.floats(), max_size=4))
    def test_any_values_make_one_line(self, values: dict[str, Any]) -> None:
        """Nothing in a field can begin another line."""
        line = json_line("control", {"log_format": "x", **values})
        self.assertEqual(len(line.splitlines()), 1)
        json.loads(line)
