"""People who have logged in at a gateway rig, and the `hoopgw` command as they run it."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen
from joserfc.jwk import OKPKey

from hoopgw.cli.home import Home, Login
from hoopgw.events import Hop, Principal
from hoopgw.identity.hops import public_jwk
from hoopgw.identity.keyfiles import load_signing_key
from hoopgw.identity.tokens import GATEWAY, GatewayToken, TokenSigner
from tests.support.gateway import GatewayRig
from tests.support.processes import Processes, Running, python_environment

PATIENCE = 180.0
"""Seconds for a command, and for the commands in it."""


@frozen(kw_only=True)
class Person:
    """Somebody with a log-in that is bound to a key, in a folder."""

    rig: GatewayRig
    home: Path
    session: str
    """The log-in's id."""

    @classmethod
    def log_in(
        cls,
        rig: GatewayRig,
        home: Path,
        *,
        name: str = "alice",
        groups: Iterable[str] = ("developers",),
        lifetime: float = 600.0,
    ) -> Person:
        """Write the log-in that `hoopgw login` would leave."""
        key = OKPKey.generate_key("Ed25519", private=True)
        now, session = time.time(), f"login-{name}-{secrets.token_hex(4)}"
        url = rig.settings.control.url
        signer = TokenSigner(load_signing_key(rig.settings.paths.token_key), url)
        token = signer.sign(
            GatewayToken(
                principal=Principal(
                    chain=(
                        Hop(id=f"corp|{name}", name=name, kind="person", groups=frozenset(groups)),
                    ),
                    session=session,
                    expires=now + lifetime,
                ),
                audience=GATEWAY,
                issued=now - 1,
                expires=now + lifetime,
                confirmation={"jkt": key.thumbprint(), "jwk": public_jwk(key)},
            )
        )
        Home(folder=home).save(
            Login(
                gateway=url,
                ca=str(rig.ca),
                token=token,
                expires=now + lifetime,
                key=dict(key.as_dict(private=True)),
                origin=url,
            )
        )
        return cls(rig=rig, home=home, session=session)

    @classmethod
    @contextmanager
    def logged_in(cls, rig: GatewayRig, **who: Any) -> Iterator[Person]:
        """Log somebody in for as long as the block; ``who`` as for `log_in`."""
        with tempfile.TemporaryDirectory(prefix="hg-login-") as home:
            yield cls.log_in(rig, Path(home), **who)

    def environment(self, **more: str) -> dict[str, str]:
        """Return what makes the command this person's."""
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("PG", "HOOPGW_"))}
        return {**kept, **python_environment(), "HOOPGW_HOME": str(self.home), **more}

    def run(
        self, *arguments: str | Path, text: str | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "hoopgw.cli", *map(str, arguments)],
            env=self.environment(**(env or {})),
            input="" if text is None else text,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def delegate(
        self, *arguments: str | Path, text: str | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``hoopgw delegate``."""
        return self.run("delegate", *arguments, text=text, env=env)

    def start(self, processes: Processes, name: str, *arguments: str | Path) -> Running:
        """Run the command in the background."""
        return processes.start(
            name,
            [sys.executable, "-m", "hoopgw.cli", *map(str, arguments)],
            env=self.environment(),
        )


INNER = [sys.executable, "-m", "hoopgw.cli", "delegate"]
"""Runs the command inside a command; the interpreter finds our code by ``PYTHONPATH``."""
