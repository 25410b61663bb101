"""The part of the story in which somebody gets access for a while."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from attrs import frozen

from hoopgw.demo.client import Psql
from hoopgw.demo.command import CommandLine
from hoopgw.demo.data import customers
from hoopgw.demo.settings import TARGET
from hoopgw.demo.stage import Stage

GRANT: Final = "read-orders"
REASON: Final = "month's end"
READ: Final = "SELECT name, card FROM customers ORDER BY id LIMIT 2"
LONG: Final = "SELECT pg_sleep(30)"
_PATIENCE: Final = 30.0
_SOON: Final = 2.0
"""Seconds in which a session ends when its grant does."""


@frozen(kw_only=True)
class GrantStory:
    """Dana may nothing; she asks, bob approves, and it ends."""

    dana: CommandLine
    """Logged in."""
    bob: CommandLine
    psql: Path
    stage: Stage

    def perform(self) -> None:
        """Play it. Raises `DemoError` if something is not as it should be."""
        reader = Psql.log_in(self.psql, self.dana, TARGET, "app_reader")
        self.stage.typed("dana", f'psql -c "{READ}"')
        refused = reader.run(READ)
        self.stage.shown(refused.errors)
        ask = f"hoopgw request --target {TARGET} --grant {GRANT} --for 15m --reason"
        self.stage.check(ask in refused.errors, "the refusal says how to ask", seen=refused.errors)
        self.stage.typed("dana", f'{ask} "{REASON}"')
        asked = self.dana.json(
            *("request", "--target", TARGET, "--grant", GRANT, "--for", "15m"),
            *("--reason", REASON),
        )
        grant = str(asked["id"])
        own = self.dana.attempt("grants", "approve", grant)
        self.stage.check(own.returncode == 1, "dana cannot approve her own", seen=own.stdout)
        self.stage.typed("bob", f"hoopgw grants approve {grant}")
        self.stage.shown(self.bob.run("grants", "approve", grant))
        self.stage.typed("dana", f'psql -c "{READ}"')
        answer = reader.run(READ)
        self.stage.shown(answer.output + answer.errors)
        person = customers()[0]
        self.stage.check(
            person.name in answer.output and person.card not in answer.output,
            "now she reads, and what is personal is masked",
            seen=answer.errors,
        )
        self._end(reader, grant)

    def _end(self, reader: Psql, grant: str) -> None:
        """End the grant while something runs by it."""
        self.stage.typed("dana", f'psql -c "{LONG}"')
        with reader.start(LONG) as process:
            self.stage.wait("dana's session", self._lives, _PATIENCE)
            self.stage.typed("bob", f"hoopgw grants revoke {grant}")
            self.bob.run("grants", "revoke", grant)
            begun = time.monotonic()
            answer = reader.finish(process, _PATIENCE)
            took = time.monotonic() - begun
        self.stage.shown(answer.errors)
        self.stage.check(
            took < _SOON and "is over" in answer.errors,
            f"her session ended within {_SOON:.0f} seconds",
            seen=f"{took:.1f} s: {answer.errors}",
        )

    def _lives(self) -> bool:
        sessions = self.bob.json("sessions", "list", "--live")["sessions"]
        return any(session["path"] == "dana" for session in sessions)
