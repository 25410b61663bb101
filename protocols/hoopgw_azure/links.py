"""Links in answers, which must lead to the gateway and not past it, and polls that we know again.

Azure answers a long operation with the address of its state. Whoever asks there gets what the
operation returned, secrets included, so the address is given to the client with a seal: what the
operation was, and where its answer has secrets, for that path and that principal only. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import msgspec
from attrs import field, frozen

from hoopgw.http.path import locate
from hoopgw_azure.calls import Secrets
from hoopgw_azure.errors import UnclearRequestError

PARAMETER: Final = "hoopgw-poll"
"""Of the query of an address that we have sealed."""
_MAC: Final = 16
_SEAL_LIMIT: Final = 4_096
_ABSOLUTE: Final = re.compile(r"(?i)https?://")


@frozen(kw_only=True)
class Origin:
    """What an operation was whose state is asked for."""

    operation: str
    secrets: Secrets

    def sealed(self, seal: bytes, path: tuple[str, ...]) -> str:
        """Return it for a path, in a form that only the holder of ``seal`` can make."""
        data = msgspec.json.encode(
            [self.operation, self.secrets.everything, list(self.secrets.paths)]
        )
        mac = _mac(seal, data, path)
        return base64.urlsafe_b64encode(mac + data).decode().rstrip("=")

    @classmethod
    def opened(cls, text: str, seal: bytes, path: tuple[str, ...]) -> Origin:
        """Return what was sealed.

        Raises:
            UnclearRequestError: it was not, or for another path or principal.

        """
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            if len(text) > _SEAL_LIMIT or not hmac.compare_digest(
                raw[:_MAC], _mac(seal, raw[_MAC:], path)
            ):
                raise ValueError
            operation, everything, paths = msgspec.json.decode(
                raw[_MAC:], type=tuple[str, bool, list[str]]
            )
        except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
            raise UnclearRequestError(
                f"{PARAMETER} is not of this path and caller, or of another time"
            ) from error
        return cls(operation=operation, secrets=Secrets(everything=everything, paths=tuple(paths)))


def _mac(seal: bytes, data: bytes, path: tuple[str, ...]) -> bytes:
    about = "\0".join(segment.lower() for segment in path).encode()
    whole = len(about).to_bytes(4, "big") + about + data
    return hmac.digest(seal, b"hoopgw/azure/poll/v1\0" + whole, hashlib.sha256)[:_MAC]


@frozen
class Links:
    """Where a target's links lead."""

    hosts: frozenset[str]
    """Of the target itself, in lower case, with a port if it is not the usual one."""

    def is_ours(self, url: str) -> bool:
        """Say whether an absolute URL is the target's."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return False
        host = parts.netloc.lower().removesuffix(":443")
        return parts.scheme.lower() == "https" and host in self.hosts

    def rewritten(self, url: str, authority: str) -> str | None:
        """Return an URL of the target with our name in place of its; None if it is another's.

        What is no absolute URL stays as it is.
        """
        if not _ABSOLUTE.match(url):
            return None if url.startswith("//") else url
        if not self.is_ours(url):
            return None
        parts = urlsplit(url)
        return urlunsplit(("https", authority, parts.path, parts.query, ""))

    def polled(self, url: str, authority: str, origin: Origin, seal: bytes) -> str | None:
        """Return the sealed address of an operation's state; None if it is another host's."""
        found = self.rewritten(url, authority)
        if found is None:
            return None
        parts = urlsplit(found)
        place = locate(parts.path or "/")
        query = "&".join(
            each for each in parts.query.split("&") if each and not each.startswith(PARAMETER)
        )
        mark = f"{PARAMETER}={origin.sealed(seal, place.segments)}"
        return urlunsplit(
            (parts.scheme, parts.netloc, parts.path, f"{query}&{mark}" if query else mark, "")
        )


@frozen
class Polled:
    """A request for the state of an operation."""

    origin: Origin
    text: str = field(repr=False)
    """The seal, to carry it on."""
