"""The configuration files of the demonstration's gateway and agent."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from attrs import frozen

from hoopgw.demo import azure_settings
from hoopgw.demo.issuer import AGENT, AUDIENCE, CLIENT
from hoopgw.demo.postgres import DATABASE

TARGET: Final = "orders"
AGENT_NAME: Final = "local"
ISSUER: Final = "demo"


@frozen(kw_only=True)
class Ports:
    """Where the demonstration listens, all on loopback."""

    control: int
    postgres: int
    link: int
    issuer: int
    database: int
    azure: int
    """Of the gateway, for Azure's clients."""
    cloud: int
    identity: int
    ssh: int
    """Of the gateway, for SSH clients."""
    sshd: int


AGENT_POLICY: Final = f"""\
// The example policies give an agent only what the person has who started it. The demonstration's
// agent logs in by itself, so what it may do is said here: read, and nothing else.

@id("demo-agent-reads")
@max_rows("1000")
permit (
  principal == Hoopgw::Agent::"{ISSUER}|{AGENT}",
  action in
    [Postgres::Action::"connect",
     Postgres::Action::"set",
     Postgres::Action::"show",
     Postgres::Action::"transaction",
     Postgres::Action::"select",
     Postgres::Action::"see"],
  resource in Hoopgw::Target::"{TARGET}"
);
"""


def gateway_toml(ports: Ports, issuer: str, policies: str, more: str = "") -> str:
    """Write the gateway's configuration; ``more`` are further tables."""
    return f"""\
# The demonstration's gateway. It names no credential of any target, and has none.
state = "state"
name = "demo"

[control]
listen = "127.0.0.1:{ports.control}"
url = "https://127.0.0.1:{ports.control}"
admins = ["admins"]

[tls]
names = {json.dumps(["127.0.0.1", "localhost", *azure_settings.TLS_NAMES])}

[[listeners]]
protocol = "postgres"
listen = "127.0.0.1:{ports.postgres}"

[link]
listen = "127.0.0.1:{ports.link}"

[[identity.issuers]]
alias = "{ISSUER}"
issuer = {json.dumps(issuer)}
client_id = "{CLIENT}"
clients = ["{AGENT}"]
audiences = ["{AUDIENCE}"]
algorithms = ["RS256"]
name_claim = "sub"
allow_http = true
required = {{ token_use = ["access"] }}

[identity.issuers.agents]
claim = "client_id"
values = ["{AGENT}"]

[policy]
directory = {json.dumps(policies)}

[reviews]
patience = 300

[[targets]]
name = "{TARGET}"
protocol = "postgres"
agent = "{AGENT_NAME}"
environment = "prod"

[targets.labels]
"public.customers.email" = ["pii.email"]
"public.customers.card" = ["pii.card"]
"public.customers.national_id" = ["pii.national_id"]
{azure_settings.gateway_tables(ports.azure, AGENT_NAME)}{more}"""


def agent_toml(ports: Ports, ca: str, secrets: str, cloud_ca: Path, more: str = "") -> str:
    """Write the agent's configuration; ``more`` are further tables."""
    reader, writer = (
        json.dumps("file:" + os.path.join(secrets, name)) for name in ("app_reader", "app_writer")
    )
    return f"""\
# The demonstration's agent: it holds the credentials, and has a floor policy of its own.
state = "agent-state"
name = "{AGENT_NAME}"

[gateway]
link = "127.0.0.1:{ports.link}"
url = "https://127.0.0.1:{ports.control}"
ca = {json.dumps(ca)}

[[targets]]
name = "{TARGET}"
protocol = "postgres"
address = "127.0.0.1:{ports.database}"
tls = "disable"
database = "{DATABASE}"

[targets.accounts.app_reader]
source = {reader}

[targets.accounts.app_writer]
source = {writer}

[[floor]]
targets = ["{TARGET}"]
accounts = ["app_reader"]
mode = "read-only"

[[floor]]
targets = ["{TARGET}"]
accounts = ["app_writer"]
mode = "any"
{azure_settings.agent_tables(ports.cloud, cloud_ca)}{more}"""
