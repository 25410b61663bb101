"""Azurite, the emulator of Blob storage: ``python -m tests.support.azurite`` installs it from npm.

It takes bearer tokens as Azure does, over TLS only, and reads of them issuer, audience and times;
no signature. What it holds is in memory.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from pathlib import Path
from typing import Final

from attrs import define, field

from tests.support import npm
from tests.support.certificates import Pair
from tests.support.processes import Processes, Running

VERSION: Final = "3.35.0"
_MANIFEST: Final = json.dumps(
    {"name": "hoopgw-test-azurite", "private": True, "dependencies": {"azurite": VERSION}}
).encode()
_PROGRAM: Final = "node_modules/azurite/dist/src/blob/main.js"


def is_there() -> bool:
    """Say whether it is installed, and can run."""
    return npm.is_possible() and (npm.folder("azurite", _MANIFEST) / _PROGRAM).exists()


def install() -> Path:
    """Return the folder of its packages; see `tests.support.npm.install`."""
    return npm.install("azurite", _MANIFEST)


@define(eq=False)
class Azurite:
    """One account's blobs, on loopback."""

    account: str
    key: str = field(repr=False)
    """Of the account: who has it may do everything."""
    port: int
    running: Running

    @classmethod
    def start(cls, processes: Processes, account: str, pair: Pair) -> Azurite:
        """Start it with a certificate for the account's host."""
        key = base64.b64encode(secrets.token_bytes(64)).decode()
        running = processes.start(
            "azurite",
            [
                *("node", install() / _PROGRAM, "--inMemoryPersistence", "--disableTelemetry"),
                *("--oauth", "basic", "--cert", pair.certificate, "--key", pair.key),
                *("--blobHost", "127.0.0.1", "--blobPort", "0", "--skipApiVersionCheck"),
            ],
            env={"AZURITE_ACCOUNTS": f"{account}:{key}"},
        )
        line = running.wait_for_line(r"listens on https://127\.0\.0\.1:(\d+)")
        return cls(account, key, int(line[1]), running)


def bearer(audience: str = "https://storage.azure.com", lifetime: float = 3600.0) -> str:
    """Return a token of Entra's form, as far as it is read."""
    now = int(time.time())
    claims = {
        "aud": audience,
        "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000000/",
        "iat": now - 60,
        "nbf": now - 60,
        "exp": now + int(lifetime),
        "oid": "11111111-1111-1111-1111-111111111111",
    }
    parts = [{"alg": "RS256", "typ": "JWT"}, claims]
    encoded = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
    ]
    return ".".join([*encoded, "c2lnbmVk"])


if __name__ == "__main__":
    print(install())
