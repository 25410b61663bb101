"""A caller whose log-in is bound to a key, and what it gets from the gateway with it."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import requests
from attrs import define, field
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import OKPKey

from hoopgw.events import Cap, Hop, Principal
from hoopgw.identity.authority import request
from hoopgw.identity.dpop import make_proof
from hoopgw.identity.hops import HopClaims, mint_hop, public_jwk
from hoopgw.identity.keyfiles import load_signing_key
from hoopgw.identity.private_files import key_pem
from hoopgw.identity.tokens import GATEWAY, GatewayToken, TokenSigner
from tests.support.gateway import PSQL_15, WRITER, GatewayRig

_DONE: Final = "--- done ---"


@define(eq=False)
class Caller:
    """Somebody who is logged in at the gateway of a rig."""

    rig: GatewayRig
    name: str = "alice"
    groups: Iterable[str] = ("developers",)
    lifetime: float = 600.0
    chain: tuple[Hop, ...] = ()
    """Instead of one person."""
    nodes: tuple[Any, ...] = ()
    key: OKPKey = field(factory=lambda: OKPKey.generate_key("Ed25519", private=True))
    session: str = field(factory=lambda: f"login-{secrets.token_hex(6)}")
    trusted: Path | None = None
    """CAs of listeners, while the gateway's own file may be of the next already."""

    @property
    def principal(self) -> Principal:
        """Whom the token stands for."""
        person = Hop(
            id=f"corp|{self.name}", name=self.name, kind="person", groups=frozenset(self.groups)
        )
        return Principal(
            chain=self.chain or (person,),
            nodes=self.nodes,
            session=self.session,
            expires=float(int(time.time() + self.lifetime)),
        )

    def token(self, *, bound: bool = True) -> str:
        """Return a token for the gateway, bound to the key."""
        settings, now = self.rig.settings, time.time()
        signer = TokenSigner(load_signing_key(settings.paths.token_key), settings.control.url)
        return signer.sign(
            GatewayToken(
                principal=self.principal,
                audience=GATEWAY,
                issued=now - 1,
                expires=now + min(self.lifetime, 900.0),
                confirmation=(
                    {"jkt": self.key.thumbprint(), "jwk": public_jwk(self.key)} if bound else None
                ),
            )
        )

    def post(
        self, path: str, body: Mapping[str, Any], *, bound: bool = True, proved: bool = True
    ) -> requests.Response:
        """Call the API."""
        url, token = f"{self.rig.settings.control.url}{path}", self.token(bound=bound)
        headers = {"Authorization": f"DPoP {token}"}
        if proved:
            headers["DPoP"] = make_proof(self.key, "POST", url, time.time(), token)
        return requests.post(
            url,
            json=dict(body),
            headers=headers,
            verify=str(self.trusted or self.rig.ca),
            timeout=60,
        )

    def child(self, name: str, *caps: Cap) -> Child:
        """Delegate to a child with a key of its own; nobody is asked."""
        key = OKPKey.generate_key("Ed25519", private=True)
        claims = HopClaims(name=name, expires=time.time() + 300, caps=caps or None)
        return Child(
            rig=self.rig,
            key=key,
            shown=mint_hop(self.token(), self.key, key, claims, time.time()),
        )

    def certificate(self, *targets: str, folder: Path | None = None, **more: Any) -> Certificate:
        """Get a certificate, with a key of its own."""
        key = ec.generate_private_key(ec.SECP256R1())
        answer = self.post(
            "/v1/certificates", {"csr": request(key, "x"), "targets": list(targets), **more}
        )
        assert answer.status_code == 200, answer.text
        given = answer.json()
        place = folder or self.rig.folder / f"certificate-{secrets.token_hex(4)}"
        return Certificate.write(place, key, given["certificate"], given["serial"], given["ca"])


@define(eq=False)
class Child(Caller):
    """An agent that a caller has started: it shows the chain, and proves its own key."""

    shown: str = ""

    def token(self, *, bound: bool = True) -> str:
        """Return the whole chain."""
        return self.shown

    def child(self, name: str, *caps: Cap) -> Child:
        """Delegate further."""
        key = OKPKey.generate_key("Ed25519", private=True)
        claims = HopClaims(name=name, expires=time.time() + 240, caps=caps or None)
        shown = mint_hop(self.shown, self.key, key, claims, time.time())
        return Child(rig=self.rig, key=key, shown=shown)


@define(eq=False)
class Certificate:
    """A certificate as psql has it."""

    folder: Path
    serial: str

    @classmethod
    def write(
        cls, folder: Path, key: ec.EllipticCurvePrivateKey, pem: str, serial: str = "", ca: str = ""
    ) -> Certificate:
        """Write the files."""
        folder.mkdir(exist_ok=True)
        (folder / "key").touch(mode=0o600)
        (folder / "key").write_bytes(key_pem(key))
        (folder / "crt").write_text(pem)
        (folder / "ca").write_text(ca)
        return cls(folder, serial)

    def options(self, rig: GatewayRig, target: str, account: str = WRITER) -> dict[str, Any]:
        """Return what libpq needs; no password is among it."""
        return {
            **rig.options(target, account, token=""),
            "sslcert": str(self.folder / "crt"),
            "sslkey": str(self.folder / "key"),
        }


def psql(options: Mapping[str, Any], sql: str) -> subprocess.CompletedProcess[str]:
    """Run psql once."""
    return subprocess.run(
        [PSQL_15, "-XAtqw", "-c", sql, _conninfo(options)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin", "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"},
    )


@define(eq=False)
class LivePsql:
    """A psql that stays connected."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, options: Mapping[str, Any]) -> LivePsql:
        """Connect."""
        process = subprocess.Popen(
            [PSQL_15, "-XAtqw", _conninfo(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={"PATH": "/usr/bin", "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"},
        )
        return cls(process)

    def ask(self, sql: str) -> list[str]:
        """Run a statement, and return the lines that come; the last ones if the session is lost."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(f"{sql};\n\\echo {_DONE}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return [*self.process.stdout]
        lines = []
        for line in self.process.stdout:
            if line.rstrip("\n") == _DONE:
                break
            lines.append(line.rstrip("\n"))
        return lines

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


def _conninfo(options: Mapping[str, Any]) -> str:
    return " ".join(f"{name}='{value}'" for name, value in options.items() if value != "")
