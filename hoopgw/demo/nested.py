"""The story of nested agents: person > planner > migrator > an ordinary client.

Told once for each `StoryClient`: psql is the first, and every protocol adds the client that its
users have. The scene is real: `hoopgw delegate` inside `hoopgw delegate`, each a process of its
own, and the client knows nothing of it.
"""

from __future__ import annotations

import re
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from attrs import define, field, frozen

from hoopgw.demo.client import Answer
from hoopgw.demo.command import CommandLine
from hoopgw.demo.processes import DemoError
from hoopgw.demo.stage import Stage

CUT_WITHIN: Final = 2.0
"""Seconds from the revocation of the planner to the end of the migrator's live session."""
PURPOSE: Final = "move the returned orders"
_PATIENCE: Final = 60.0
_HOOPGW: Final = (sys.executable, "-m", "hoopgw.cli")
_REFUSED: Final = "42501"


class StoryClient(Protocol):
    """One protocol's own client, as the migrator uses it. It finds its way by its environment."""

    @property
    def name(self) -> str:
        """What people call it: ``psql``."""
        ...

    @property
    def to_planner(self) -> Sequence[str]:
        """Options of ``hoopgw delegate``: what the planner may do, and with which account."""
        ...

    @property
    def to_migrator(self) -> Sequence[str]:
        """The same for the migrator: also the action of `oversteps`, which the planner lacks."""
        ...

    @property
    def works(self) -> Sequence[str]:
        """A command that both may run."""
        ...

    @property
    def oversteps(self) -> Sequence[str]:
        """A command that the migrator was told it may run, and the planner was not."""
        ...

    @property
    def stays(self) -> Sequence[str]:
        """A command with a session that stays, and does something again and again."""
        ...

    @property
    def stays_input(self) -> str:
        """What `stays` reads from standard input, which is kept open."""
        ...

    def has_worked(self, answer: Answer) -> bool:
        """Whether `works` did."""
        ...

    def was_refused(self, answer: Answer) -> bool:
        """Whether `oversteps` was refused by the gateway, in the client's own words."""
        ...

    def is_live(self, line: str) -> bool:
        """Whether a line of `stays` shows that its session lives."""
        ...


@frozen(kw_only=True)
class PsqlClient:
    """psql on one target."""

    program: Path
    target: str
    account: str
    select: str
    """A statement that reads."""
    write: str
    """One that writes, which the planner's caps leave out."""

    name: str = field(default="psql", init=False)

    @property
    def to_planner(self) -> Sequence[str]:
        """Read."""
        return ("--allow", f"{self.target}:Postgres::read", "--account", self.account)

    @property
    def to_migrator(self) -> Sequence[str]:
        """Read, and write, as far as the planner's word goes."""
        caps = f"{self.target}:Postgres::read,Postgres::write"
        return ("--allow", caps, "--account", self.account)

    @property
    def works(self) -> Sequence[str]:
        """Read."""
        return (*self._psql, "-c", self.select)

    @property
    def oversteps(self) -> Sequence[str]:
        """Write."""
        return (*self._psql, "-c", self.write)

    @property
    def stays(self) -> Sequence[str]:
        """Take statements from standard input."""
        return self._psql

    @property
    def stays_input(self) -> str:
        """Ask again and again."""
        return "SELECT 'still here' \\watch 0.1\n"

    def has_worked(self, answer: Answer) -> bool:
        """Rows came."""
        return answer.status == 0

    def was_refused(self, answer: Answer) -> bool:
        """With the SQLSTATE of a refusal, and for its caps."""
        return answer.status != 0 and _REFUSED in answer.errors and "caps" in answer.errors

    def is_live(self, line: str) -> bool:
        """See an answer."""
        return "still here" in line

    @property
    def _psql(self) -> tuple[str, ...]:
        return (str(self.program), "-Xwt", "-v", "VERBOSITY=verbose", f"service={self.target}")


@define(eq=False)
class NestedStory:
    """One performance with one client."""

    alice: CommandLine
    """Logged in."""
    client: StoryClient
    stage: Stage
    sessions: Callable[[], list[dict[str, Any]]]
    """Lists sessions, as somebody who may see them."""
    _purpose: str = field(factory=lambda: f"{PURPOSE}, job {secrets.token_hex(3)}", init=False)

    def perform(self) -> None:
        """Play it.

        Raises:
            DemoError: something is not as it should be.

        """
        self.works()
        self.oversteps()
        self.revoked()
        self.is_recorded()

    def works(self) -> None:
        """Let the migrator do its work."""
        answer = self._run(self.client.works)
        self.stage.check(
            self.client.has_worked(answer),
            f"{self.client.name} knows nothing of it, and holds no password",
            seen=answer.errors,
        )

    def oversteps(self) -> None:
        """Let it try what its parent has not."""
        answer = self._run(self.client.oversteps)
        self.stage.check(
            self.client.was_refused(answer),
            "the migrator may not do what the planner was not given, though the planner said so",
            seen=answer.output + answer.errors,
        )

    def revoked(self) -> None:
        """Take the planner's delegation back while the migrator's client works."""
        self._typed(self.client.stays)
        with _Live.start(self.alice, self._line(self.client.stays), self.client) as live:
            live.wait_until_live()
            planner = self._planner()
            self.stage.typed("alice", f"hoopgw chains revoke {planner['id']}")
            begun = time.monotonic()
            self.alice.run("chains", "revoke", planner["id"], "--reason", "that is enough")
            revoked = time.monotonic()
            ended = live.wait_for_end()
        self.stage.shown(live.last_words())
        late = max(0.0, ended - revoked)
        self.stage.check(
            late < CUT_WITHIN,
            f"the migrator's live {self.client.name} has ended, {late:.1f} s later "
            f"(the command itself took {revoked - begun:.1f} s)",
        )

    def is_recorded(self) -> None:
        """Find the whole chain in the sessions."""
        trails = {str(session["path"]) for session in self.sessions()}
        pattern = re.compile(r"alice/planner#[\w-]+/db-migrator#[\w-]+")
        found = sorted(trail for trail in trails if pattern.fullmatch(trail))
        self.stage.shown("\n".join(found))
        self.stage.check(
            bool(found), "the records name all of them, in order", seen="\n".join(sorted(trails))
        )

    @property
    def _planner_options(self) -> list[str]:
        return ["--to", "planner", *self.client.to_planner, "--purpose", self._purpose, "--quiet"]

    @property
    def _migrator_options(self) -> list[str]:
        return ["--to", "db-migrator", *self.client.to_migrator, "--quiet"]

    def _line(self, command: Sequence[str]) -> list[str]:
        """Return the command line: a delegation inside of a delegation."""
        migrator = [*_HOOPGW, "delegate", *self._migrator_options, "--", *command]
        return ["delegate", *self._planner_options, "--", *migrator]

    def _typed(self, command: Sequence[str]) -> None:
        """Show who starts whom."""
        self.stage.typed("alice", f"hoopgw delegate {shlex.join(self._planner_options)} --")
        self.stage.typed("planner", f"hoopgw delegate {shlex.join(self._migrator_options)} --")
        self.stage.typed("db-migrator", shlex.join([Path(command[0]).name, *command[1:]]))

    def _run(self, command: Sequence[str]) -> Answer:
        self._typed(command)
        done = self.alice.attempt(*self._line(command))
        answer = Answer(output=done.stdout, errors=done.stderr, status=done.returncode)
        self.stage.shown(answer.output + answer.errors)
        return answer

    def _planner(self) -> dict[str, Any]:
        """Find the planner of this performance: the one that lives, of those with its purpose."""
        nodes: list[dict[str, Any]] = self.alice.json("chains", "list")["nodes"]
        mine = [n for n in nodes if n["name"] == "planner" and n["purpose"] == self._purpose]
        if not mine:
            raise DemoError("the gateway knows nothing of the planner")
        return max(mine, key=lambda node: float(node["first_seen"]))


@define(eq=False)
class _Live:
    """A command in the background, and what it says."""

    process: subprocess.Popen[str]
    client: StoryClient
    _lines: list[str] = field(factory=list, init=False)
    _live: threading.Event = field(factory=threading.Event, init=False)
    _last: float = field(default=0.0, init=False)
    """When it was last seen to live."""
    _reader: threading.Thread = field(init=False)

    @classmethod
    def start(cls, alice: CommandLine, line: Sequence[str], client: StoryClient) -> _Live:
        process = subprocess.Popen(
            [*_HOOPGW, *line],
            env=alice.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        )
        live = cls(process, client)
        live._reader = threading.Thread(target=live._read, daemon=True)
        live._reader.start()
        assert process.stdin is not None
        process.stdin.write(client.stays_input)
        process.stdin.flush()
        return live

    def __enter__(self) -> _Live:  # noqa: PYI034  # it is not made to be derived from
        return self

    def __exit__(self, *_error: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(_PATIENCE)
        self._reader.join(_PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def wait_until_live(self) -> None:
        if not self._live.wait(_PATIENCE) or not self._last:
            raise DemoError(f"{self.client.name} did not begin:\n{self.last_words()}")

    def wait_for_end(self) -> float:
        """Return when it last lived, after it has ended."""
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"{self.client.name} goes on:\n{self.last_words()}") from error
        self._reader.join(_PATIENCE)
        return self._last

    def last_words(self) -> str:
        """Return what it said besides being live."""
        lines = [line for line in self._lines if line.strip() and not self.client.is_live(line)]
        return "\n".join(lines[-6:])

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line.rstrip("\n"))
            if self.client.is_live(line):
                self._last = time.monotonic()
                self._live.set()
        self._live.set()
