"""Session passwords: a random password that stands for a session, for clients that know no tokens.

PostgreSQL clients send a user name and prove a password by SCRAM-SHA-256. The user name is
``account~handle``: the handle says which password is meant. Only the verifier is kept (RFC 5803),
from which the password cannot be had. Few iterations are enough: they slow down guessing, and a
random password of 138 bits is not guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from attrs import field, frozen

from hoopgw.events import Principal
from hoopgw.identity.shown import (
    SessionPassword,
)

ITERATIONS: Final = 4096
"""What RFC 7677 asks for at least, and what every client takes."""
ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without l, o, 0 and 1; 32 characters, so that each is worth 5 bits."""
HANDLE_LENGTH: Final = 8
PASSWORD_LENGTH: Final = 28
_SALT: Final = 16


@frozen(kw_only=True)
class NewPassword:
    """A session password as its owner sees it, once."""

    handle: str
    password: str = field(repr=False)
    stored: SessionPassword

    @property
    def user(self) -> str:
        """The user name to give to the client."""
        return f"{self.stored.account}~{self.handle}"


def make_password(principal: Principal, target: str, account: str) -> NewPassword:
    """Make a session password for an account on a target."""
    password = _random(PASSWORD_LENGTH)
    salt = secrets.token_bytes(_SALT)
    stored_key, server_key = scram_keys(password.encode(), salt, ITERATIONS)
    return NewPassword(
        handle=_random(HANDLE_LENGTH),
        password=password,
        stored=SessionPassword(
            target=target,
            account=account,
            principal=principal,
            salt=salt,
            iterations=ITERATIONS,
            stored_key=stored_key,
            server_key=server_key,
        ),
    )


def split_user(user: str) -> tuple[str, str] | None:
    """Return account and handle of a user name, or None if it has no handle."""
    account, mark, handle = user.rpartition("~")
    if not mark or not account or len(handle) != HANDLE_LENGTH or not set(handle) <= set(ALPHABET):
        return None
    return account, handle


def scram_keys(password: bytes, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    """Return StoredKey and ServerKey of SCRAM-SHA-256 (RFC 5802 section 3)."""
    salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256")


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
