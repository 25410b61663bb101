"""The whole demonstration, started step by step and stopped in reverse.

PostgreSQL, the issuer, the gateway (`twistd hoopgw`) and the agent (`twistd hoopgw-agent`) are
separate processes. The agent is enrolled with a real join token, asked for by an administrator
who has really logged in; the target's passwords are written for the agent only.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import attrs
import requests
from attrs import define, field

from hoopgw import config as configuration
from hoopgw.demo import azure_settings, postgres, settings, web1
from hoopgw.demo import issuer as issuers
from hoopgw.demo.cloud import Cloud
from hoopgw.demo.command import CommandLine
from hoopgw.demo.files import DemoFolder, Facts
from hoopgw.demo.processes import Child, Children, free_port, is_listening
from hoopgw.identity.keyfiles import create_state

ADMINISTRATOR: Final = "bob"
_TWISTD: Final = "from twisted.scripts.twistd import run; run()"
"""What the script ``twistd`` does, where Python's scripts are not beside it."""
_START: Final = 60.0
"""Seconds that gateway and agent get to start."""
_PORTS: Final = settings.Ports(
    control=8443,
    postgres=6432,
    link=7443,
    issuer=8400,
    database=5440,
    azure=9443,
    cloud=8444,
    identity=8445,
    ssh=2222,
    sshd=2240,
)
"""What is tried first, so that the lines to copy look alike from run to run."""
_NAMES: Final = tuple(attrs.fields_dict(settings.Ports))


@define(eq=False)
class Demo:
    """One demonstration."""

    folder: DemoFolder
    policies: Path
    report: Callable[[str], None] = field(default=lambda _text: None)
    """Told what is being done, before it is done."""
    fixed_ports: bool = False
    """Whether the usual ports are tried first."""
    children: Children = field(init=False)
    ports: settings.Ports = field(init=False)
    cluster: postgres.Cluster = field(init=False)
    issuer: issuers.Issuer = field(init=False)
    psql: Path = field(init=False)
    gateway: Child = field(init=False)
    agent: Child = field(init=False)
    cloud: Cloud = field(init=False)
    """What the agent's managed identity is, and what only Azure knows."""
    web1: web1.Web1 | None = field(default=None, init=False)
    """The SSH host; None where there is no sshd."""
    _outside: Path | None = field(default=None, init=False)
    """Where PostgreSQL's data is when it cannot be in the folder."""

    def start(self) -> None:
        """Start everything.

        Raises:
            DemoError: a part did not start; what did is left for `stop`.

        """
        self.psql = postgres.psql_with_tls()
        self.folder.make()
        self.children = Children(self.folder.logs)
        self.ports = self._choose_ports()
        self.report("PostgreSQL 18 with 200 customers")
        self.cluster = postgres.start(self._data_folder(), self.ports.database, self.children)
        self.report("an OpenID Connect issuer with four people and an AI agent")
        home = self.folder.path / "issuer"
        home.mkdir(mode=0o700)
        self.issuer = issuers.start(home, self.ports.issuer, self.children)
        self.report("Azure as it was recorded: Resource Manager, a key vault, a managed identity")
        self._start_cloud()
        self._start_web1()
        self._write_files()
        self.report("the gateway")
        self._start_gateway()
        self.report("the agent, enrolled with a join token")
        self._start_agent()

    def stop(self) -> None:
        """Stop everything, the last started first; harmless if nothing runs."""
        if hasattr(self, "children"):
            self.children.stop(lambda name: self.report(f"{name} stopped"))
        if self._outside is not None:
            shutil.rmtree(self._outside)
            self._outside = None

    def remove(self) -> None:
        """Remove the folder, if it is this demonstration's."""
        if hasattr(self, "children"):
            self.folder.remove()

    def command_line(self, name: str) -> CommandLine:
        """Return the `hoopgw` command as one person, or the AI agent, runs it."""
        return CommandLine(
            home=self.folder.home(name),
            gateway=f"https://127.0.0.1:{self.ports.control}",
            ca=self.folder.ca,
        )

    def _choose_ports(self) -> settings.Ports:
        wanted = attrs.asdict(_PORTS) if self.fixed_ports else dict.fromkeys(_NAMES, 0)
        return settings.Ports(**{name: free_port(port) for name, port in wanted.items()})

    def _data_folder(self) -> Path:
        """Return a folder that PostgreSQL's user can reach."""
        inside = self.folder.path / "postgres"
        if postgres.unprivileged_user() is not None and not postgres.is_reachable(inside):
            self._outside = postgres.outside_folder()
            return self._outside
        inside.mkdir(mode=0o700)
        return inside

    def _write_files(self) -> None:
        folder = self.folder
        for account in postgres.ACCOUNTS:
            secret = folder.secrets / account
            secret.touch(mode=0o600)
            secret.write_text(self.cluster.passwords[account])
        policies = folder.path / "policies"
        shutil.copytree(self.policies, policies)
        (policies / "50-demo-agent.cedar").write_text(settings.AGENT_POLICY)
        (policies / "60-demo-azure.cedar").write_text(azure_settings.POLICY)
        gateway_more = agent_more = ""
        if self.web1 is not None:
            (policies / "70-demo-ssh.cedar").write_text(self.web1.policy)
            gateway_more = web1.gateway_tables(self.ports.ssh, settings.AGENT_NAME)
            agent_more = web1.agent_tables(self.web1, self._web1_key)
        folder.gateway_config.write_text(
            settings.gateway_toml(self.ports, self.issuer.url, str(policies), gateway_more)
        )
        folder.agent_config.write_text(
            settings.agent_toml(
                self.ports,
                str(folder.ca),
                str(folder.secrets),
                azure_settings.CloudFiles(folder=folder.cloud).ca,
                agent_more,
            )
        )
        loaded = configuration.load(folder.gateway_config)
        create_state(loaded.paths, loaded.tls.names, datetime.now(UTC))
        folder.remember(
            Facts(
                pid=os.getpid(),
                gateway=f"https://127.0.0.1:{self.ports.control}",
                issuer=self.issuer.url,
                postgres_port=self.ports.postgres,
                people=dict(self.issuer.passwords),
                agent_secret=self.issuer.agent_secret,
            )
        )

    def _start_cloud(self) -> None:
        files = azure_settings.CloudFiles(folder=self.folder.cloud)
        self.cloud = files.make(self.ports.cloud, self.ports.identity)
        program = [sys.executable, "-m", "hoopgw.demo.cloud", str(files.config)]
        self.children.start("cloud", program, env=environment())
        self.children.wait_until(
            "the start of Azure",
            lambda: is_listening(self.ports.cloud) and is_listening(self.ports.identity),
            _START,
        )

    def _start_web1(self) -> None:
        if web1.program() is None:
            self.report("no SSH: sshd is not installed (on Debian: apt install openssh-server)")
            return
        self.report("an SSH host: a real sshd")
        self.web1 = web1.start(
            self.folder.path / "web1", self.ports.sshd, self._web1_key, self.children
        )

    @property
    def _web1_key(self) -> Path:
        return self.folder.secrets / "web1.key"

    def _start_gateway(self) -> None:
        self.gateway = self.children.start(
            "gateway", twistd("hoopgw", self.folder.gateway_config), env=environment()
        )
        self.children.wait_until("the gateway's start", lambda: self._answers("/healthz"), _START)

    def _start_agent(self) -> None:
        administrator = self.command_line(ADMINISTRATOR)
        administrator.log_in(self.issuer, ADMINISTRATOR)
        made = administrator.json("agent", "token", settings.AGENT_NAME)
        administrator.run(
            *("agent", "join", "--config", str(self.folder.agent_config), "--token-file", "-"),
            text=made["token"],
        )
        self.agent = self.children.start(
            "agent",
            twistd("hoopgw-agent", self.folder.agent_config),
            env={**environment(), **azure_settings.identity_variables(self.cloud)},
        )
        self.children.wait_until("the agent's connection", self._agent_is_connected, _START)

    def _agent_is_connected(self) -> bool:
        agents = self.command_line(ADMINISTRATOR).json("agent", "list")["agents"]
        return any(agent["name"] == settings.AGENT_NAME and agent["connected"] for agent in agents)

    def _answers(self, path: str) -> bool:
        try:
            answer = requests.get(
                f"https://127.0.0.1:{self.ports.control}{path}",
                verify=str(self.folder.ca),
                timeout=5.0,
            )
        except requests.RequestException:
            return False
        return answer.status_code == 200


def twistd(service: str, config: Path) -> list[str]:
    """Return what runs one of our services in the foreground."""
    beside = Path(sys.executable).with_name("twistd")
    program = [str(beside)] if beside.exists() else [sys.executable, "-c", _TWISTD]
    options = ["--nodaemon", "--pidfile=", "--reactor=hoopgw"]
    return [*program, *options, service, "--config", str(config)]


def environment() -> dict[str, str]:
    """Return the environment of gateway and agent: ours, without what could be a credential."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PG", "HOOPGW_", "AZURE_", "AWS_", "GITHUB_", "IDENTITY_", "MSI_"))
    }
