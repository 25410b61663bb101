"""Tests for the commands that ask a gateway, against a real control process over TLS."""

from __future__ import annotations

import time
from pathlib import Path

from attrs import evolve
from joserfc.jwk import OKPKey
from twisted.internet.threads import deferToThread

from hoopgw.cli.home import Home, Login
from hoopgw.events import Principal
from hoopgw.identity.keyfiles import load_log_key
from hoopgw.link import identity
from hoopgw.recording.recovery import open_log
from hoopgw.store.rows import Request
from tests.cli.support import Run, run
from tests.control.gateway_case import ALICE, CAROL, ROOT, GatewayCase
from tests.store.values import DBA, ask
from tests.support.processes import free_port

LISTENER = """
[[listeners]]
protocol = "postgres"
listen = "0.0.0.0:6432"
"""
AGENT = """
state = "agent-state"
name = "local"
[gateway]
link = "127.0.0.1:7443"
[[targets]]
name = "orders"
protocol = "postgres"
address = "127.0.0.1:5432"
[targets.accounts.app]
source = "env:PASSWORD"
[[floor]]
targets = ["orders"]
accounts = ["app"]
"""


class CommandCase(GatewayCase):
    """Commands of several people at one gateway."""

    toml = GatewayCase.toml + LISTENER

    def home(self, who: Principal, expires: float | None = None) -> Path:
        """Keep a log-in, as ``hoopgw login`` does, bound to a key of its own."""
        folder = self.folder / "homes" / who.root.name
        key = OKPKey.generate_key("Ed25519", private=True)
        Home(folder=folder).save(
            Login(
                gateway=self.url,
                ca=str(self.config.paths.ca_certificate),
                token=self.token(who, key=key),
                expires=time.time() + 60 if expires is None else expires,
                key=dict(key.as_dict(private=True)),
                origin=self.url,
            )
        )
        return folder

    async def hoopgw(self, who: Principal | Path, *arguments: str | Path, text: str = "") -> Run:
        """Run the command as somebody."""
        folder = who if isinstance(who, Path) else self.home(who)
        result: Run = await deferToThread(
            run, "--home", folder, *arguments, text=text, env={"COLUMNS": "200"}
        )
        return result

    def file(self, text: str = "delete from orders", by: Principal = ALICE) -> Request:
        """File a request."""
        return self.docket.file(ask(text, by, DBA))


class RequestTests(CommandCase):
    """``hoopgw requests``."""

    async def test_listed_and_shown(self) -> None:
        """The exact text, who asks, what is needed; control characters are made visible."""
        filed = self.file("delete from orders -- \x1b[2J")
        listed = await self.hoopgw(CAROL, "requests", "list")
        self.assertEqual(listed.status, 0, listed.errors)
        self.assertIn(filed.id, listed.output)
        shown = await self.hoopgw(CAROL, "requests", "show", filed.id)
        self.assertIn("delete from orders -- \\x1b[2J", shown.output)
        self.assertNotIn("\x1b[2J", shown.output + listed.output)
        self.assertIn(filed.digest.hex(), shown.output)
        as_json = await self.hoopgw(CAROL, "requests", "list", "--json")
        self.assertEqual([r["id"] for r in as_json.json["requests"]], [filed.id])

    async def test_what_would_run_is_listed(self) -> None:
        """What the gateway notes above it stands with the whole text only."""
        self.file("# it gets no input\nrm -r releases/1.0")
        listed = await self.hoopgw(CAROL, "requests", "list")
        self.assertIn("rm -r releases/1.0", listed.output)
        self.assertNotIn("no input", listed.output)

    async def test_approved(self) -> None:
        """By somebody else, with a comment; then it is done."""
        filed = self.file()
        done = await self.hoopgw(CAROL, "requests", "approve", filed.id, "--comment", "go")
        self.assertEqual((done.status, done.output), (0, f"{filed.id} is approved\n"))
        self.assertTrue(self.docket.consume(filed.id, filed.digest))
        shown = await self.hoopgw(CAROL, "requests", "show", filed.id)
        self.assertIn("carol approved", shown.output)
        again = await self.hoopgw(CAROL, "requests", "approve", filed.id)
        self.assertEqual(again.status, 1)

    async def test_not_by_oneself(self) -> None:
        """Status 1, and the reason."""
        filed = self.file()
        result = await self.hoopgw(ALICE, "requests", "approve", filed.id)
        self.assertEqual(result.status, 1)
        self.assertIn("oneself", result.errors)
        as_json = await self.hoopgw(ALICE, "requests", "approve", filed.id, "--json")
        self.assertEqual(as_json.fault["status"], 1)

    async def test_denied(self) -> None:
        """And said so."""
        filed = self.file()
        done = await self.hoopgw(CAROL, "requests", "deny", filed.id, "--json")
        self.assertEqual(done.json["state"], "denied")

    async def test_reason_and_withdrawal(self) -> None:
        """By whoever asked; not by others."""
        filed = self.file()
        said = await self.hoopgw(ALICE, "requests", "reason", filed.id, "ticket 7")
        self.assertEqual(said.status, 0, said.errors)
        shown = await self.hoopgw(CAROL, "requests", "show", filed.id)
        self.assertIn("ticket 7", shown.output)
        self.assertEqual((await self.hoopgw(CAROL, "requests", "withdraw", filed.id)).status, 1)
        taken = await self.hoopgw(ALICE, "requests", "withdraw", filed.id)
        self.assertEqual(taken.output, f"{filed.id} is withdrawn\n")

    async def test_nothing_waits(self) -> None:
        """Said in words, and as JSON an empty list."""
        empty = await self.hoopgw(CAROL, "requests", "list")
        self.assertEqual(empty.output, "nothing waits for approval\n")
        unknown = await self.hoopgw(CAROL, "requests", "show", "r-0000000000000000")
        self.assertEqual(unknown.status, 1)


class TargetTests(CommandCase):
    """``hoopgw targets`` and ``token``."""

    async def test_targets(self) -> None:
        """With the state of their agents."""
        result = await self.hoopgw(ALICE, "targets")
        self.assertEqual(
            [line.split() for line in result.output.splitlines()],
            [
                ["TARGET", "PROTOCOL", "ENVIRONMENT", "ACCOUNTS", "ACCESS", "AGENT", "STATE"],
                ["orders", "postgres", "prod", "-", "open", "local", "gone"],
            ],
        )

    async def test_what_policy_refuses_is_not_there(self) -> None:
        """Neither in the list nor for a token; all of it is for those who oversee."""
        nothing = await self.hoopgw(CAROL, "targets")
        self.assertEqual(nothing.output, "there is no target that you may connect to\n")
        refused = await self.hoopgw(CAROL, "token", "orders", "--account", "app")
        self.assertEqual(refused.status, 1)
        self.assertIn("that you may connect to", refused.errors)
        self.assertEqual((await self.hoopgw(CAROL, "targets", "--all")).status, 1)
        everything = await self.hoopgw(ROOT, "targets", "--all", "--json")
        self.assertEqual([each["name"] for each in everything.json["targets"]], ["orders"])

    async def test_the_only_account(self) -> None:
        """It need not be named; of several, one must be."""
        for accounts, status in (({"app": "shop"}, 0), ({"app": "shop", "other": ""}, 2), ({}, 2)):
            await self.announce(accounts)
            result = await self.hoopgw(ALICE, "token", "orders", "--json")
            self.assertEqual(result.status, status, result.errors)
        await self.announce({"app": "shop"})
        listed = await self.hoopgw(ALICE, "targets")
        self.assertIn("app", listed.output)

    async def announce(self, accounts: dict[str, str]) -> None:
        """Tell of an agent's accounts, as a worker does."""
        peer = await self.peer()
        await peer.call("hello", worker="w1")
        agent = {"name": "local", "connected": True, "targets": ["orders"]}
        await peer.call("agent_status", agents=[{**agent, "accounts": {"orders": accounts}}])

    async def get(self, *arguments: str) -> Run:
        return await self.hoopgw(ALICE, "token", "orders", "--account", "app", *arguments)

    async def test_a_password(self) -> None:
        """Everything that psql needs; the host is the one that was logged in to."""
        result = await self.get("--format", "json")
        self.assertEqual(result.status, 0, result.errors)
        given = result.json
        variables = given["env"]
        self.assertEqual((variables["PGHOST"], variables["PGPORT"]), ("127.0.0.1", "6432"))
        self.assertEqual(variables["PGSSLMODE"], "verify-full")
        self.assertEqual(variables["PGSSLROOTCERT"], str(self.config.paths.ca_certificate))
        self.assertEqual(variables["PGCHANNELBINDING"], "require")
        self.assertRegex(variables["PGUSER"], r"^app~[a-z2-9]{8}$")
        row = self.store.password(variables["PGUSER"].partition("~")[2])
        assert row is not None
        self.assertEqual((row.target, row.account), ("orders", "app"))
        self.assertEqual(row.principal.root.name, "alice")

    async def test_formats(self) -> None:
        """Lines for eval, one URL, or only the secret."""
        env = await self.get("--format", "env")
        self.assertIn("export PGSSLMODE=verify-full\n", env.output)
        url = await self.get("--format", "url", "--database", "shop")
        self.assertRegex(url.output, r"^postgresql://app~\w{8}:\w{28}@127.0.0.1:6432/orders%2Fshop")
        text = await self.get()
        self.assertRegex(text.output, r"^\w{28}\n$")

    async def test_a_token(self) -> None:
        """For five minutes; the account is the user."""
        given = (await self.get("--bearer", "--json")).json
        self.assertEqual((given["kind"], given["user"]), ("token", "app"))
        self.assertEqual(given["secret"].count("."), 2)

    async def test_what_is_not_there(self) -> None:
        """A target is named; an account must be."""
        result = await self.hoopgw(ALICE, "token", "order", "--account", "x")
        self.assertEqual(result.status, 1)
        self.assertIn("these are: orders", result.errors)
        self.assertEqual((await self.hoopgw(ALICE, "token", "orders")).status, 2)


class AgentTests(CommandCase):
    """``hoopgw agent``."""

    async def test_joins(self) -> None:
        """With a token that an administrator made; it is good once."""
        # An agent pins the log's key, so there must be a log.
        paths = self.config.paths
        key = load_log_key(paths.log_key)
        open_log(paths.log, key, self.config.name).writer.close()
        made = await self.hoopgw(ROOT, "agent", "token", "local")
        self.assertEqual(made.status, 0, made.errors)
        (self.folder / "agent.toml").write_text(AGENT)
        arguments = ("agent", "join", "--config", self.folder / "agent.toml", "--token-file", "-")
        joined = await self.hoopgw(ROOT, *arguments, text=made.output)
        self.assertEqual(joined.status, 0, joined.errors)
        found = identity.load(self.folder / "agent-state", time.time())
        self.assertEqual(found.enrolment.url, self.url)
        again = await self.hoopgw(ROOT, *arguments, text=made.output)
        self.assertEqual(again.status, 1)
        listed = await self.hoopgw(ROOT, "agent", "list", "--json")
        self.assertEqual([a["name"] for a in listed.json["agents"]], ["local"])
        out = await self.hoopgw(ROOT, "agent", "revoke", "local")
        self.assertEqual(out.output, "agent local is out\n")

    async def test_of_the_machine_itself(self) -> None:
        """The user who owns the gateway needs no log-in."""
        nobody = self.folder / "nobody"
        local = ("--local", self.folder / "hoopgw.toml")
        made = await self.hoopgw(nobody, "agent", "token", "local", *local, "--json")
        self.assertTrue(made.json["token"].startswith("hgw1."))
        listed = await self.hoopgw(nobody, "agent", "list", *local)
        self.assertEqual(listed.status, 0, listed.errors)

    async def test_not_for_everybody(self) -> None:
        """Only administrators make tokens."""
        result = await self.hoopgw(ALICE, "agent", "token", "local")
        self.assertEqual(result.status, 1)
        self.assertIn("administrators", result.errors)


class LoginTests(CommandCase):
    """``hoopgw whoami`` and ``logout``, and log-ins that are not good."""

    async def test_whoami(self) -> None:
        """Name, groups and end."""
        result = await self.hoopgw(ALICE, "whoami")
        self.assertIn("alice", result.output)
        self.assertIn("dev", result.output)

    async def test_logout(self) -> None:
        """Revokes at the gateway, and forgets here."""
        home = self.home(ALICE)
        token = Home(folder=home).load()
        self.assertEqual((await self.hoopgw(home, "logout")).output, "logged out\n")
        self.assertEqual((await self.hoopgw(home, "targets")).status, 3)
        Home(folder=home).save(token)
        result = await self.hoopgw(home, "targets")
        self.assertEqual(result.status, 3)
        self.assertIn("does not accept the log-in", result.errors)

    async def test_over(self) -> None:
        """Status 3 without asking the gateway."""
        result = await self.hoopgw(self.home(ALICE, time.time() - 1), "targets")
        self.assertEqual(result.status, 3)
        self.assertEqual(result.errors, "hoopgw: the log-in is over: run `hoopgw login`\n")

    async def test_the_token_alone_is_good_for_nothing(self) -> None:
        """It is bound to the key that is kept beside it."""
        home = self.home(ALICE)
        kept = Home(folder=home).load()
        answer = await self.call("GET", "/v1/me", kept.token)
        self.assertEqual(answer.status, 401)
        self.assertEqual((await self.hoopgw(home, "whoami")).status, 0)

    async def test_another_gateway(self) -> None:
        """The log-in is not sent anywhere else."""
        result = await self.hoopgw(self.home(ALICE), "--gateway", "https://127.0.0.1:1", "targets")
        self.assertEqual(result.status, 3)
        self.assertIn("logged in to", result.errors)

    async def test_files_are_for_oneself(self) -> None:
        """The log-in is readable by its owner only."""
        kept = self.home(ALICE) / "login.json"
        self.assertEqual(kept.stat().st_mode & 0o777, 0o600)
        self.assertNotIn(
            Home(folder=kept.parent).load().token, repr(Home(folder=kept.parent).load())
        )


class UnreachableTests(CommandCase):
    """Gateways that cannot be asked: status 4."""

    async def test_nobody_listens(self) -> None:
        """A sentence with the fix."""
        home = Home(folder=self.home(ALICE))
        home.save(evolve(home.load(), gateway=f"https://127.0.0.1:{free_port()}"))
        result = await self.hoopgw(home.folder, "targets")
        self.assertEqual(result.status, 4)
        self.assertIn("does not answer (Connection refused)", result.errors)

    async def test_another_ca(self) -> None:
        """A certificate that is not trusted, or a CA file that is missing."""
        other = self.config.paths.link_ca_certificate
        result = await self.hoopgw(self.home(ALICE), "--ca", other, "targets")
        self.assertEqual(result.status, 4)
        self.assertIn("is not trusted", result.errors)
        missing = await self.hoopgw(self.home(ALICE), "--ca", self.folder / "none", "targets")
        self.assertEqual(missing.status, 4)

    async def test_no_gateway_named(self) -> None:
        """The first log-in must say which."""
        result = await self.hoopgw(self.folder / "empty", "login", "--device")
        self.assertEqual(result.status, 1)
        self.assertIn("which gateway?", result.errors)

    async def test_plain_http(self) -> None:
        """A token is never sent over it."""
        result = await self.hoopgw(
            self.folder / "empty", "--gateway", "http://127.0.0.1", "login", "--device"
        )
        self.assertEqual(result.status, 2)


class SessionTests(CommandCase):
    """``hoopgw sessions`` at the gateway; recordings themselves are tested beside their reader."""

    async def test_none(self) -> None:
        """Nothing has happened yet."""
        result = await self.hoopgw(ALICE, "sessions", "list")
        self.assertEqual((result.status, result.output), (0, "there are no sessions\n"))
        for command in ("show", "replay", "cut", "freeze", "thaw"):
            unknown = await self.hoopgw(ALICE, "sessions", command, "nobody")
            self.assertEqual(unknown.status, 1)
            self.assertRegex(unknown.errors, "no (such )?session")
