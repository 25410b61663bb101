"""A whole gateway for tests: state, configuration, all its processes, and an enrolled agent.

Everything is real: `twistd hoopgw` with its recorder, control and worker, `twistd hoopgw-agent`,
TLS, enrolment with a join token. Only the issuer is left out: tokens for principals are signed
with the gateway's own key, as control would after a log-in.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import psycopg
import requests
from attrs import define, field, frozen
from joserfc.jwk import OKPKey

from hoopgw import config
from hoopgw.events import Hop, Node, Principal
from hoopgw.identity.hops import public_jwk
from hoopgw.identity.keyfiles import create_state, load_signing_key
from hoopgw.identity.tokens import GATEWAY, GatewayToken, TokenSigner, target_audience
from hoopgw.link.enrolment_api import JoinToken
from tests.support.postgres import Server
from tests.support.processes import (
    Processes,
    Running,
    children_of,
    free_port,
    python_environment,
)
from tests.support.ssh_gateway import SshClient, SshTarget

AGENT: Final = "local"
READER: Final = "app_reader"
WRITER: Final = "app_writer"
_START: Final = 60.0

POLICY: Final = """
@id("developers")
permit (principal in Hoopgw::Group::"developers", action, resource);

// An agent may do what its root may: the root is asked too.
@id("agents-inherit")
permit (principal is Hoopgw::Agent, action, resource);

@id("readers")
permit (principal in Hoopgw::Group::"readers",
  action in [Postgres::Action::"connect", Postgres::Action::"read",
    Postgres::Action::"transaction", Postgres::Action::"set"],
  resource);

@id("mask-card") @mask("last4")
forbid (principal, action == Postgres::Action::"see", resource)
when { resource.labels.contains("pii.card") };

@id("approve-truncate") @approval("dba") @approval_ttl("15m")
forbid (principal, action == Postgres::Action::"truncate", resource)
unless { context.approvals.contains("approve-truncate") };

@id("no-do") @deny("anonymous code blocks are not allowed here")
forbid (principal, action == Postgres::Action::"do", resource);
"""
"""Enough to see every kind of verdict; tests that need more bring their own."""


@frozen(kw_only=True)
class RigTarget:
    """A database behind the gateway."""

    name: str
    server: Server
    database: str
    passwords: Mapping[str, str] = field(repr=False)
    """Account to its password: only the agent gets them."""
    labels: Mapping[str, list[str]] = field(factory=dict)
    environment: str = "test"
    durability: Literal["grouped", "strict"] = "grouped"
    tls: bool = False
    """Whether the agent speaks TLS to the server."""

    @classmethod
    def make(cls, name: str, server: Server, *statements: str, **options: Any) -> RigTarget:
        """Make a database with two accounts that may do everything with its tables.

        Args:
            name: of the target.
            server: where.
            statements: make the database's content.
            options: for the class.

        """
        passwords = {}
        with server.connect() as connection:
            for account in (READER, WRITER):
                # One server's databases share its roles, and so does every target made of them.
                password = hashlib.sha256(f"{server.folder}/{account}".encode()).hexdigest()[:24]
                with contextlib.suppress(psycopg.errors.DuplicateObject):
                    statement = f"CREATE ROLE {account} LOGIN PASSWORD '{password}'"
                    connection.execute(statement.encode())
                passwords[account] = password
        everything = "ALL ON ALL {} IN SCHEMA public TO " + f"{READER}, {WRITER}"
        database = server.new_database(
            *statements,
            f"GRANT ALL ON SCHEMA public TO {READER}, {WRITER}",
            f"GRANT {everything.format('TABLES')}",
            f"GRANT {everything.format('SEQUENCES')}",
        )
        return cls(name=name, server=server, database=database, passwords=passwords, **options)


@define(eq=False, kw_only=True)
class GatewayRig:
    """A running gateway with one agent."""

    folder: Path
    targets: Mapping[str, RigTarget]
    port: int
    """Where PostgreSQL clients connect."""
    ssh_port: int
    """Where SSH clients connect, if there is an SSH target."""
    settings: config.GatewayConfig
    processes: Processes
    gateway: Running
    agent: Running | None = None

    @property
    def ca(self) -> Path:
        """What clients trust."""
        return self.settings.paths.ca_certificate

    def token(
        self,
        target: str | None,
        *,
        name: str = "alice",
        groups: Iterable[str] = ("developers",),
        agent: str | None = None,
        lifetime: float = 600.0,
        session: str | None = None,
        key: OKPKey | None = None,
    ) -> str:
        """Return a token for a target, or for the gateway itself (None), as after a log-in.

        Args:
            target: whom it is shown to.
            name: the person's.
            groups: the person's.
            agent: an AI agent that acts for the person.
            lifetime: seconds until its sessions end.
            session: the log-in's id, if a test must know it.
            key: that the token is bound to; it can then be the root of a chain.

        """
        chain = [Hop(id=f"corp|{name}", name=name, kind="person", groups=frozenset(groups))]
        if agent is not None:
            chain.append(Hop(id=f"corp|{agent}", name=agent, kind="agent"))
        now = time.time()
        bound = None if key is None else {"jkt": key.thumbprint(), "jwk": public_jwk(key)}
        signer = TokenSigner(
            load_signing_key(self.settings.paths.token_key), self.settings.control.url
        )
        return signer.sign(
            GatewayToken(
                principal=Principal(
                    chain=tuple(chain),
                    nodes=tuple(Node(id=secrets.token_urlsafe(16)) for _ in chain[1:]),
                    session=session or f"login-{name}-{secrets.token_hex(4)}",
                    expires=now + lifetime,
                ),
                audience=GATEWAY if target is None else target_audience(target),
                issued=now - 1,
                expires=now + min(lifetime, 300.0),
                confirmation=bound,
            )
        )

    def options(
        self, target: str, account: str = WRITER, *, token: str | None = None, **who: Any
    ) -> dict[str, Any]:
        """Return what libpq needs to reach a target through the gateway."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "dbname": target,
            "user": account,
            "password": token if token is not None else self.token(target, **who),
            "sslmode": "verify-full",
            "sslrootcert": str(self.ca),
            "connect_timeout": 20,
        }

    def connect(
        self, target: str, account: str = WRITER, *, autocommit: bool = True, **who: Any
    ) -> psycopg.Connection[Any]:
        """Connect through the gateway with psycopg."""
        return psycopg.connect(autocommit=autocommit, **self.options(target, account, **who))

    def environment(self, target: str, account: str = WRITER, **who: Any) -> dict[str, str]:
        """Return the environment in which psql reaches a target through the gateway."""
        options = self.options(target, account, **who)
        names = {"dbname": "PGDATABASE", "connect_timeout": "PGCONNECT_TIMEOUT"}
        given = {names.get(k, f"PG{k.upper()}"): str(v) for k, v in options.items()}
        return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(self.folder), **given}

    def ssh_client(self, *targets: str, **options: Any) -> SshClient:
        """Return somebody with a certificate for SSH targets; for options see `SshClient.make`."""
        folder = self.folder / f"ssh-{secrets.token_hex(4)}"
        return SshClient.make(folder, self.settings, self.ssh_port, targets, **options)

    def api(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        name: str = "root",
        groups: Iterable[str] = ("admins",),
    ) -> Any:
        """Call the admin API as a person, an administrator if not told otherwise.

        Raises:
            requests.HTTPError: it refused.

        """
        answer = requests.request(
            method,
            f"{self.settings.control.url}{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.token(None, name=name, groups=groups)}"},
            verify=str(self.ca),
            timeout=60,
        )
        if not answer.ok:
            raise requests.HTTPError(f"{answer.status_code}: {answer.text}", response=answer)
        return answer.json()

    def start_agent(self) -> None:
        """Start the agent, which is enrolled, and wait until it is connected."""
        path = self.folder / "agent.toml"
        self.agent = self.processes.start_python(
            "agent", *twistd("hoopgw-agent", path), env=python_environment()
        )
        self.agent.wait_for_line("connected to the gateway", _START)

    def agents(self) -> list[dict[str, Any]]:
        """Return what the gateway says of its agents."""
        found: list[dict[str, Any]] = self.api("GET", "/v1/agents")["agents"]
        return found

    def stop(self) -> None:
        """Stop everything, and remove it."""
        try:
            self.processes.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            for target in self.targets.values():
                if target.server.running.process.poll() is None:
                    target.server.drop_database(target.database)

    def _enrol_agent(self) -> None:
        token = self.api("POST", "/v1/join-tokens", {"agent": AGENT})["token"]
        JoinToken.decode(token)
        running = self.processes.start_python(
            "join",
            *("-m", "hoopgw.cli", "agent", "join", "--config", self.folder / "agent.toml", token),
        )
        if running.process.wait(_START) != 0:
            raise running.error("could not enrol")


def start(
    *targets: RigTarget,
    policy: str = POLICY,
    extra: str = "",
    agent_extra: str = "",
    floor: Literal["any", "read-only"] = "any",
    agent: bool = True,
    link: Literal["tcp", "unix"] = "tcp",
    program: Sequence[str] = (),
    ssh: Sequence[SshTarget] = (),
    ssh_listener: str = "",
) -> GatewayRig:
    """Start a gateway with these targets.

    Args:
        targets: what it reaches.
        policy: Cedar.
        extra: more lines for ``hoopgw.toml``.
        agent_extra: more tables for ``agent.toml``.
        floor: what the agent allows both accounts.
        agent: whether its agent is enrolled and started too.
        link: how the agent reaches the gateway.
        program: what to run as the gateway with ``--config FILE`` instead of ``twistd hoopgw``.
        ssh: SSH servers that it reaches.
        ssh_listener: more lines for the listener's table.

    """
    folder = Path(tempfile.mkdtemp(prefix="hg-gw-"))
    ports = {name: free_port() for name in ("control", "postgres", "link", "ssh")}
    (folder / "policies").mkdir()
    (folder / "policies" / "test.cedar").write_text(policy)
    where = f"127.0.0.1:{ports['link']}" if link == "tcp" else f"unix:{folder / 'link.sock'}"
    gateway_toml = _gateway_toml(ports, where, targets, extra)
    agent_toml = _agent_toml(folder, ports, where, targets, floor)
    if ssh:
        listen = f'[[listeners]]\nprotocol = "ssh"\nlisten = "127.0.0.1:{ports["ssh"]}"'
        tables = "".join(target.in_gateway() for target in ssh)
        gateway_toml += f"{listen}\n{ssh_listener}\n{tables}"
        agent_toml += "".join(target.in_agent(folder / "credentials") for target in ssh)
    (folder / "hoopgw.toml").write_text(gateway_toml)
    (folder / "agent.toml").write_text(agent_toml + agent_extra)
    settings = config.load(folder / "hoopgw.toml")
    others = settings.interception.names
    create_state(settings.paths, settings.tls.names, datetime.now(UTC), others)
    processes = Processes(folder)
    command = [*program, "--config", str(settings.path)] if program else None
    gateway = processes.start_python("gateway", *(command or twistd("hoopgw", settings.path)))
    rig = GatewayRig(
        folder=folder,
        targets={target.name: target for target in targets},
        port=ports["postgres"],
        ssh_port=ports["ssh"],
        settings=settings,
        processes=processes,
        gateway=gateway,
    )
    try:
        gateway.wait_for_line("worker worker1 is ready", _START)
        gateway.wait_for_port(ports["control"], _START)
        if agent:
            rig._enrol_agent()
            rig.start_agent()
    except BaseException:
        rig.stop()
        raise
    return rig


def process_of(rig: GatewayRig, role: str) -> int:
    """Return the id of one of the gateway's processes."""
    for pid in children_of(rig.gateway.pid):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as words:
            if f"hoopgw.processes.{role}".encode() in words.read():
                return pid
    raise AssertionError(f"there is no {role}")


def twistd(service: str, path: Path) -> list[str]:
    """Return what runs one of our services in the foreground, with this interpreter."""
    program = "from twisted.scripts.twistd import run; run()"
    options = ["--nodaemon", "--pidfile=", "--reactor=hoopgw"]
    return ["-c", program, *options, service, "--config", str(path)]


def _gateway_toml(
    ports: Mapping[str, int], link: str, targets: Iterable[RigTarget], extra: str
) -> str:
    tables = "".join(
        f"""
[[targets]]
name = "{target.name}"
protocol = "postgres"
agent = "{AGENT}"
environment = "{target.environment}"
durability = "{target.durability}"
[targets.labels]
{_labels(target.labels)}
"""
        for target in targets
    )
    return f"""
state = "state"
name = "test"
{extra}
[control]
listen = "127.0.0.1:{ports["control"]}"
url = "https://127.0.0.1:{ports["control"]}"
admins = ["admins"]
auditors = ["auditors"]
[[listeners]]
protocol = "postgres"
listen = "127.0.0.1:{ports["postgres"]}"
[link]
listen = "{link}"
{f"agent_uids = [{os.getuid()}]" if link.startswith("unix:") else ""}
[policy]
directory = "policies"
{tables}"""


def _labels(labels: Mapping[str, list[str]]) -> str:
    return "\n".join(f"{json.dumps(name)} = {json.dumps(given)}" for name, given in labels.items())


def _agent_toml(
    folder: Path, ports: Mapping[str, int], link: str, targets: Iterable[RigTarget], floor: str
) -> str:
    text = f"""
state = "agent-state"
name = "{AGENT}"
[gateway]
link = "{link}"
url = "https://127.0.0.1:{ports["control"]}"
ca = "state/keys/ca.crt"
"""
    secrets_folder = folder / "credentials"
    secrets_folder.mkdir(mode=0o700)
    for target in targets:
        ca = ""
        if target.tls and target.server.authority is not None:
            ca = f'ca = "{target.server.authority.write(folder / f"{target.name}.crt")}"'
        text += f"""
[[targets]]
name = "{target.name}"
protocol = "postgres"
address = "127.0.0.1:{target.server.port}"
tls = "{"verify-full" if target.tls else "disable"}"
database = "{target.database}"
{ca}
"""
        for account, password in target.passwords.items():
            path = secrets_folder / f"{target.name}.{account}"
            path.touch(mode=0o600)
            path.write_text(password)
            text += f'[targets.accounts.{account}]\nsource = "file:{path}"\n'
        text += f"""[[floor]]
targets = ["{target.name}"]
accounts = {json.dumps(list(target.passwords))}
mode = "{floor}"
"""
    return text


PSQL_15: Final = "/usr/lib/postgresql/15/bin/psql"
PYTHON: Final = sys.executable
