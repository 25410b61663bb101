"""The demonstration that plays itself, and fails if anything in it is not so.

Every step is taken with the programs that a reader would use: psql, and `hoopgw` as a process of
its own with each person's own log-in. What PostgreSQL really holds is asked beside the gateway.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from hoopgw.demo import issuer as issuers
from hoopgw.demo.azure_clients import find_client
from hoopgw.demo.azure_story import AzureStory
from hoopgw.demo.client import Answer, Psql
from hoopgw.demo.command import CommandLine
from hoopgw.demo.data import CANCELLED, CUSTOMERS, customers
from hoopgw.demo.granting import GrantStory
from hoopgw.demo.leaks import processes_below, search
from hoopgw.demo.nested import NestedStory, PsqlClient, StoryClient
from hoopgw.demo.settings import TARGET
from hoopgw.demo.ssh_story import SshStory
from hoopgw.demo.stack import Demo
from hoopgw.demo.stage import Stage

REFUSED: Final = "42501"
"""SQLSTATE insufficient_privilege: what a refusal by policy is, to a client."""
SELECT: Final = "SELECT id, name, email, card, national_id FROM customers ORDER BY id LIMIT 3"
DROP: Final = "DROP TABLE orders"
DELETE: Final = "DELETE FROM orders WHERE status = 'cancelled'"
DELETE_MORE: Final = "DELETE FROM orders WHERE status = 'returned'"
COUNT: Final = "SELECT status, count(*) FROM orders GROUP BY 1 ORDER BY 1"
_PATIENCE: Final = 30.0


def story_clients(psql: Path) -> tuple[StoryClient, ...]:
    """Return the clients for which the story of nested agents is told."""
    return (
        PsqlClient(
            program=psql, target=TARGET, account="app_writer", select=COUNT, write=DELETE_MORE
        ),
    )


@define(eq=False)
class Story:
    """One performance."""

    demo: Demo
    stage: Stage
    alice: CommandLine = field(init=False)
    bob: CommandLine = field(init=False)
    planner: CommandLine = field(init=False)
    reader: Psql = field(init=False)
    writer: Psql = field(init=False)
    log_key: str = field(init=False)
    """The log's public key, as an auditor kept it before anything happened."""

    @property
    def acts(self) -> tuple[tuple[str, Callable[[], None]], ...]:
        """Name every part, in its order."""
        return (
            ("Alice logs in, and gets a password for one account, for this session", self.log_in),
            ("She reads; what is personal comes back masked", self.read_masked),
            ("She tries to drop a table", self.refused_drop),
            ("She deletes; it is held until somebody else approves", self.approved_delete),
            ("Bob says no to another one", self.denied_delete),
            ("An AI agent reads, and may not write", self.agent_reads),
            ("Alice's planner has a migrator, and the migrator has psql", self.nested_agents),
            ("Dana may nothing; she gets access for a while, and it ends", self.granted),
            ("Azure: keys are masked, a secret is refused, a deletion waits", self.azure),
            ("SSH: a command runs, one is refused, one waits", self.ssh),
            ("What was recorded, replayed and verified", self.evidence),
            ("Neither gateway nor clients know a credential of the targets", self.no_credentials),
        )

    def perform(self) -> None:
        """Play all parts.

        Raises:
            DemoError: something is not as it should be.

        """
        for number, (title, part) in enumerate(self.acts, 1):
            self.stage.act(f"{number}. {title}")
            part()
            self.demo.children.check()

    def log_in(self) -> None:
        """Log alice in by the device flow, and fetch session passwords."""
        self.bob = self.demo.command_line("bob")  # logged in already, to enrol the agent
        self.log_key = (self.demo.folder.state / "log" / "verifier").read_text().strip()
        self.alice = self.demo.command_line("alice")
        self.stage.typed("alice", "hoopgw login --device")
        self.alice.log_in(self.demo.issuer, "alice")
        who = self.alice.json("whoami")
        self.stage.check(
            who["path"] == "alice", "the gateway knows alice by her issuer", seen=str(who)
        )
        self.stage.typed("alice", f"hoopgw token {TARGET} --account app_reader --password")
        self.reader = self._psql(self.alice, "app_reader")
        self.writer = self._psql(self.alice, "app_writer")
        held = set(self.demo.cluster.passwords.values())
        self.stage.check(
            held.isdisjoint(self.reader.variables.values()),
            "her password is the gateway's, not the database's",
        )

    def read_masked(self) -> None:
        """Select personal data."""
        answer = self._run("alice", self.reader, SELECT)
        self.stage.check(answer.status == 0, "the statement runs", seen=answer.errors)
        for person in customers()[:3]:
            clear = [person.email, person.card, person.national_id]
            leaked = [value for value in clear if value in answer.output]
            self.stage.check(
                not leaked and person.name in answer.output,
                f"{person.name}: name shown, e-mail, card and national id masked",
                seen=answer.output,
            )
        count = self.reader.run("SELECT count(*) FROM customers")
        self.stage.check(
            str(CUSTOMERS) in count.output,
            f"all {CUSTOMERS} customers are there",
            seen=count.errors,
        )
        sneaky = self._run(
            "alice", self.reader, "SELECT upper(reverse(card)) FROM customers LIMIT 3"
        )
        backwards = [person.card[::-1] for person in customers()]
        self.stage.check(
            not any(value in sneaky.output for value in backwards),
            "a masked column inside an expression gives nothing away",
            seen=sneaky.output,
        )

    def refused_drop(self) -> None:
        """Try what no policy permits, as the owner of the table."""
        answer = self._run("alice", self.writer, DROP)
        self.stage.check(
            answer.status != 0 and REFUSED in answer.errors,
            f"refused with SQLSTATE {REFUSED}",
            seen=answer.errors,
        )
        there = self.demo.cluster.ask("SELECT count(*) FROM pg_class WHERE relname = 'orders'")
        self.stage.check(there == "1", "the table is still there, though app_writer owns it")

    def approved_delete(self) -> None:
        """Hold a DELETE, see that alice cannot approve it, and let bob."""
        before = self._orders()
        self.stage.typed("alice", f'psql -c "{DELETE}"')
        with self.writer.start(DELETE) as process:
            request = self._held()
            self.stage.check(process.poll() is None, "psql waits")
            self.stage.check(self._orders() == before, "nothing is deleted yet")
            own = self.alice.attempt("requests", "approve", request)
            self.stage.typed("alice", f"hoopgw requests approve {request}")
            self.stage.shown(own.stderr)
            self.stage.check(own.returncode == 1, "alice cannot approve her own", seen=own.stdout)
            self.stage.check(self._orders() == before, "still nothing is deleted")
            shown = self.bob.run("requests", "show", request)
            self.stage.typed("bob", f"hoopgw requests show {request}")
            self.stage.shown(shown)
            self.stage.check(DELETE in shown, "bob sees the exact statement", seen=shown)
            self.stage.typed("bob", f"hoopgw requests approve {request} --comment 'as agreed'")
            self.bob.run("requests", "approve", request, "--comment", "as agreed")
            answer = self.writer.finish(process, _PATIENCE)
        self.stage.shown(answer.output + answer.errors)
        self.stage.check(f"DELETE {CANCELLED}" in answer.output, "psql goes on", seen=answer.errors)
        self.stage.check(
            self._orders() == before - CANCELLED, f"exactly {CANCELLED} orders are gone"
        )
        again = self.bob.attempt("requests", "approve", request)
        self.stage.check(again.returncode == 1, "the approval was for this once", seen=again.stdout)

    def denied_delete(self) -> None:
        """Hold another DELETE, and deny it."""
        before = self._orders()
        self.stage.typed("alice", f'psql -c "{DELETE_MORE}"')
        with self.writer.start(DELETE_MORE) as process:
            request = self._held()
            self.stage.typed("bob", f"hoopgw requests deny {request} --comment 'not these'")
            self.bob.run("requests", "deny", request, "--comment", "not these")
            answer = self.writer.finish(process, _PATIENCE)
        self.stage.shown(answer.errors)
        self.stage.check(
            answer.status != 0 and REFUSED in answer.errors, "psql is told no", seen=answer.errors
        )
        self.stage.check(self._orders() == before, "nothing is deleted")

    def agent_reads(self) -> None:
        """Let the AI agent in with its own token."""
        self.planner = self.demo.command_line(issuers.AGENT)
        self.stage.typed(issuers.AGENT, "hoopgw login --token-file -")
        self.planner.run("login", "--token-file", "-", text=self.demo.issuer.agent_token())
        psql = self._psql(self.planner, "app_reader")
        answer = self._run(
            issuers.AGENT, psql, "SELECT status, count(*) FROM orders GROUP BY 1 ORDER BY 1"
        )
        self.stage.check("shipped" in answer.output, "it reads", seen=answer.errors)
        person = customers()[0]
        masked = psql.run(SELECT)
        self.stage.check(
            person.card not in masked.output and person.email not in masked.output,
            "masked for it too",
            seen=masked.output,
        )
        writer = self._psql(self.planner, "app_writer")
        answer = self._run(issuers.AGENT, writer, "UPDATE orders SET amount = 0")
        self.stage.check(
            answer.status != 0 and REFUSED in answer.errors, "it may not write", seen=answer.errors
        )
        zero = self.demo.cluster.ask("SELECT count(*) FROM orders WHERE amount = 0")
        self.stage.check(zero == "0", "and did not")

    def nested_agents(self) -> None:
        """Delegate twice, with each protocol's own client at the end."""
        for client in story_clients(self.demo.psql):
            NestedStory(
                alice=self.alice,
                client=client,
                stage=self.stage,
                sessions=lambda: self.bob.json("sessions", "list", "--limit", "100")["sessions"],
            ).perform()

    def granted(self) -> None:
        """Let somebody without any rights ask for some."""
        dana = self.demo.command_line("dana")
        dana.log_in(self.demo.issuer, "dana")
        GrantStory(dana=dana, bob=self.bob, psql=self.demo.psql, stage=self.stage).perform()

    def azure(self) -> None:
        """Ask Resource Manager and a key vault."""
        folder = self.demo.folder
        AzureStory(
            alice=self.alice,
            bob=self.bob,
            client=find_client(folder.programs, self.demo.ports.azure),
            cloud=self.demo.cloud,
            asked=folder.logs / "cloud.log",
            held=self._held,
            stage=self.stage,
        ).perform()

    def ssh(self) -> None:
        """Use an SSH host, where there is one."""
        if self.demo.web1 is None:
            self.stage.note("left out: sshd is not installed")
            return
        SshStory(
            alice=self.alice,
            bob=self.bob,
            host=self.demo.web1,
            held=self._held,
            stage=self.stage,
            folder=self.demo.folder.path,
        ).perform()

    def evidence(self) -> None:
        """List, replay and verify."""
        self.stage.typed("bob", "hoopgw sessions list")
        listing: list[dict[str, Any]] = self.bob.json("sessions", "list")["sessions"]
        self.stage.shown(self.bob.run("sessions", "list"))
        self.stage.check(len(listing) >= 5, "every session is listed", seen=str(listing))
        replay = self._replay_with(listing, DELETE)
        self.stage.shown(replay)
        for word in (DELETE, "held for review", "approved", f"DELETE {CANCELLED}"):
            self.stage.check(word in replay, f"the replay shows: {word}", seen=replay)
        clear = [value for p in customers()[:3] for value in (p.card, p.national_id)]
        replays = "".join(self.bob.run("sessions", "replay", s["id"]) for s in listing)
        self.stage.check(not any(v in replays for v in clear), "no clear value is in any recording")
        self._verify()

    def _verify(self) -> None:
        """Verify the log, and a copy of it in which one byte was changed."""
        log = self.demo.folder.state / "log"
        self.stage.typed("auditor", f"hoopgw sessions verify {log} --key {self.log_key}")
        done = self.bob.attempt("sessions", "verify", str(log), "--key", self.log_key)
        self.stage.shown(done.stdout + done.stderr)
        self.stage.check(done.returncode == 0, "the log is what was written", seen=done.stderr)
        forged = self.demo.folder.path / "forged-log"
        shutil.copytree(log, forged)
        place = next(p for p in sorted(forged.iterdir()) if DELETE.encode() in p.read_bytes())
        data = place.read_bytes()
        place.write_bytes(
            data.replace(DELETE.encode(), DELETE.replace("cancelled", "delivered").encode())
        )
        done = self.bob.attempt("sessions", "verify", str(forged), "--key", self.log_key)
        self.stage.typed("auditor", f"hoopgw sessions verify {forged} --key {self.log_key}")
        self.stage.shown(done.stderr)
        self.stage.check(
            done.returncode == 1, "a copy with one word changed is not", seen=done.stdout
        )

    def no_credentials(self) -> None:
        """Look for the targets' credentials wherever gateway and clients have been."""
        folder = self.demo.folder
        passwords = {name: p.encode() for name, p in self.demo.cluster.passwords.items()}
        token = {"Azure's token": self.demo.cloud.token.encode()}
        if self.demo.web1 is not None:
            passwords["the key of web1"] = self.demo.web1.secret.encode()
        places = [folder.state, folder.logs, folder.path / "policies", folder.path / "home"]
        result = search(passwords | token, places, processes_below(self.demo.gateway.pid))
        self.stage.check(
            bool(search(passwords, [folder.secrets], []).found),
            "the search finds passwords where the agent keeps them",
        )
        self.stage.check(
            bool(search(token, [], processes_below(self.demo.agent.pid)).found),
            "and Azure's token in the agent's memory",
        )
        self.stage.check(
            not result.found,
            f"in {result.files} files of gateway and clients, and the memory of "
            f"{result.processes} processes ({result.bytes // 2**20} MiB), there is none",
            seen="\n".join(f"{f.credential} in {f.place}" for f in result.found),
        )
        for place in result.unreadable:
            self.stage.shown(f"could not be read: {place}")

    def _psql(self, command: CommandLine, account: str) -> Psql:
        return Psql.log_in(self.demo.psql, command, TARGET, account)

    def _run(self, who: str, psql: Psql, sql: str) -> Answer:
        self.stage.typed(who, f'psql -c "{sql}"')
        answer = psql.run(sql)
        self.stage.shown(answer.output + answer.errors)
        return answer

    def _orders(self) -> int:
        return int(self.demo.cluster.ask("SELECT count(*) FROM orders"))

    def _waiting(self) -> list[str]:
        requests: list[dict[str, Any]] = self.bob.json("requests", "list")["requests"]
        return [request["id"] for request in requests if request["state"] == "requested"]

    def _held(self) -> str:
        """Wait for the request that somebody's statement became."""
        self.stage.wait("a request for approval", lambda: bool(self._waiting()), _PATIENCE)
        (request,) = self._waiting()
        return request

    def _replay_with(self, listing: list[dict[str, Any]], text: str) -> str:
        for session in listing:
            replay = self.bob.run("sessions", "replay", session["id"])
            if text in replay:
                self.stage.typed("bob", f"hoopgw sessions replay {session['id']}")
                return replay
        return ""
