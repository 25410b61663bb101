"""How a log-in for one target is written down for the client that will use it.

PostgreSQL's clients read ``PGHOST`` and its siblings, or a URL; both demand that the gateway's
certificate is verified against the CA that the log-in trusts.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

from attrs import field, frozen


@frozen(kw_only=True)
class Access:
    """What opens one target for a short time."""

    protocol: str
    host: str
    port: int
    target: str
    database: str | None
    """On the target, if it is not the target's usual one."""
    user: str
    secret: str = field(repr=False)
    """A session password or a token."""
    ca: Path | None
    is_password: bool
    """Whether the secret is a SCRAM password, not a token."""

    @property
    def variables(self) -> Mapping[str, str]:
        """Return the client's environment variables."""
        if self.protocol != "postgres":
            return {"HOOPGW_TOKEN": self.secret}
        variables = {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGDATABASE": self.database_name,
            "PGUSER": self.user,
            "PGPASSWORD": self.secret,
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": self.root,
        }
        if self.is_password:
            # The password is proved to this very TLS connection, and never sent.
            variables["PGCHANNELBINDING"] = "require"
        return variables

    @property
    def url(self) -> str:
        """Return one URL with everything in it."""
        if self.protocol != "postgres":
            return self.secret
        host = f"[{self.host}]" if ":" in self.host else self.host
        query = {"sslmode": "verify-full", "sslrootcert": self.root}
        if self.is_password:
            query["channel_binding"] = "require"
        return (
            f"postgresql://{quote(self.user, safe='')}:{quote(self.secret, safe='')}"
            f"@{host}:{self.port}/{quote(self.database_name, safe='')}?{urlencode(query)}"
        )

    @property
    def database_name(self) -> str:
        """Return what the client calls the database: the target, or ``target/database``."""
        return self.target if self.database is None else f"{self.target}/{self.database}"

    @property
    def root(self) -> str:
        """Return what libpq trusts: a file, or the system's CAs."""
        return "system" if self.ca is None else str(self.ca)

    def lines(self) -> list[str]:
        """Return lines for a shell's ``eval``."""
        return [f"export {name}={shlex.quote(value)}" for name, value in self.variables.items()]
