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
from attrs import frozen

from hoopgw.http.path import Locator, LocatorError, locate, read_query
from hoopgw_azure.calls import Secrets
from hoopgw_azure.errors import UnclearRequestError

PARAMETER: Final = "hoopgw-poll"
"""Of the query of an address that we have sealed."""
_MAC: Final = 16
_SEAL_LIMIT: Final = 4_096
_UNBOUND: Final = frozenset({PARAMETER, "api-version"})
_TARGETS: Final = re.compile(r"<([^<>]*)>")
_ABSOLUTE: Final = re.compile(r"(?i)https?:")
_OTHER_HOST: Final = re.compile(r"[/\\]{2}")
_IGNORED: Final = {ord(each): None for each in "\t\n\r"}
_BLANK: Final = "".join(map(chr, range(33)))


@frozen(kw_only=True)
class Origin:
    """What an operation was whose state is asked for."""

    operation: str
    secrets: Secrets
    method: str
    path: str
    """Of the request that began it: what its answers are about."""

    def sealed(self, seal: bytes, place: Locator) -> str:
        """Return it for an address, in a form that only the holder of ``seal`` can make."""
        secrets = self.secrets
        data = msgspec.json.encode(
            [self.operation, secrets.everything, secrets.paths, self.method, self.path]
        )
        mac = _mac(seal, data, place)
        return base64.urlsafe_b64encode(mac + data).decode().rstrip("=")

    @classmethod
    def opened(cls, text: str, seal: bytes, place: Locator) -> Origin:
        """Return what was sealed.

        Raises:
            UnclearRequestError: it was not, or for another address or principal.

        """
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            if len(text) > _SEAL_LIMIT or not hmac.compare_digest(
                raw[:_MAC], _mac(seal, raw[_MAC:], place)
            ):
                raise ValueError
            operation, everything, paths, method, path = msgspec.json.decode(
                raw[_MAC:], type=tuple[str, bool, tuple[str, ...], str, str]
            )
        except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
            raise UnclearRequestError(
                f"{PARAMETER} is not of this address and caller, or of another time"
            ) from error
        return cls(
            operation=operation,
            secrets=Secrets(everything=everything, paths=paths),
            method=method,
            path=path,
        )


def _mac(seal: bytes, data: bytes, place: Locator) -> bytes:
    """Return what binds a seal to an address: path and query, but for the version of the API."""
    path = [segment.lower() for segment in place.segments]
    query = sorted(pair for pair in place.query if pair[0].lower() not in _UNBOUND)
    about = msgspec.json.encode([path, query])
    whole = len(about).to_bytes(4, "big") + about + data
    return hmac.digest(seal, b"hoopgw/azure/poll/v2\0" + whole, hashlib.sha256)[:_MAC]


@frozen
class Links:
    """Where a target's links lead."""

    hosts: frozenset[str]
    """Of the target itself, in lower case, with a port if it is not the usual one."""
    leaves_foreign: bool = False
    """Whether links to other hosts are shown as they are; otherwise the answer is not shown."""

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

        What is no absolute URL stays as it is, and so does another's if it may be shown.
        """
        foreign = url if self.leaves_foreign else None
        # As clients read it that follow WHATWG's URL standard: they forgive much.
        read = url.translate(_IGNORED).lstrip(_BLANK)
        if not _ABSOLUTE.match(read):
            return foreign if _OTHER_HOST.match(read) else url
        if not self.is_ours(read):
            return foreign
        parts = urlsplit(read)
        return urlunsplit(("https", authority, parts.path, parts.query, ""))

    def listed(self, said: str, authority: str) -> str | None:
        """Return a ``Link`` field (RFC 8288) that leads to us; None if any of it is another's.

        Clients go on to its ``next`` by themselves, and take their token there.
        """
        whole = True

        def ours(found: re.Match[str]) -> str:
            nonlocal whole
            link = self.rewritten(found[1].strip(), authority)
            whole = whole and link is not None
            return f"<{link}>"

        shown = _TARGETS.sub(ours, said)
        return shown if whole else None

    def polled(self, url: str, authority: str, origin: Origin, seal: bytes) -> str | None:
        """Return the sealed address of an operation's state; None if it is another host's."""
        found = self.rewritten(url, authority)
        if found is None:
            return None
        parts = urlsplit(found)
        try:
            query = without_seal(parts.query)
            place = locate(f"{parts.path or '/'}?{query}")
        except LocatorError:
            return None
        mark = f"{PARAMETER}={origin.sealed(seal, place)}"
        return urlunsplit(
            (parts.scheme, parts.netloc, parts.path, f"{query}&{mark}" if query else mark, "")
        )


def without_seal(query: str) -> str:
    """Return a query without what we added, as it is forwarded.

    Raises:
        LocatorError: something in it cannot be decoded.

    """
    return "&".join(
        each
        for each in query.split("&")
        if each and all(name.lower() != PARAMETER for name, _value in read_query(each))
    )
