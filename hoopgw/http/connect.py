"""The opening of a connection through an HTTPS proxy: CONNECT, read strictly. Pure.

Only what has one meaning is taken: a host's name that is no address, port 443, no body, one
``Host`` that is the same if there is one, and one credential. Unlike requests to targets it may be
HTTP/1.0 without ``Host``: the clients of Python up to 3.11 write it so.

Reference: RFC 9110, sections 9.3.6 (CONNECT) and 11.7 (Proxy-Authorization); RFC 7617 (Basic).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from attrs import field, frozen

from hoopgw.http.errors import MalformedError, MessageError
from hoopgw.http.heads import parse_fields
from hoopgw.http.messages import Headers, Limits
from hoopgw.identity.interception import NAME

PORT: Final = 443
HEAD_LIMIT: Final = 49_152
"""Bytes of the whole head: a chain of delegation in a credential has 22,000."""
LINE_LIMIT: Final = 4_096
_LIMITS: Final = Limits(start_line=LINE_LIMIT, head=HEAD_LIMIT, headers=64)
_LINE: Final = re.compile(rb"([A-Z]{1,32}) ([!-~]+) HTTP/1\.[01]\r\n")
_AUTHORITY: Final = re.compile(r"([A-Za-z0-9.-]{1,253}):([0-9]{1,5})")
_USER_LIMIT: Final = 256
_SCHEMES: Final = (b"basic", b"bearer")


class ProxyRefusedError(MessageError):
    """What is asked for is not given here, however it is asked."""

    status = 403


class MethodError(MessageError):
    """It is no CONNECT."""

    status = 405


@frozen(kw_only=True)
class Credential:
    """What a client showed to the proxy."""

    token: bytes = field(repr=False)
    account: str = ""
    """The account that it wants on the target; empty: none in particular."""


@frozen(kw_only=True)
class Connect:
    """One CONNECT."""

    host: str
    """In lower case; a name, and no address."""
    credential: Credential | None = None


@frozen
class Page:
    """A GET of the proxy's own."""

    path: str


def parse_opening(block: bytes) -> Connect | Page:
    """Read what a client of the proxy begins with: one head, with its blank line.

    Raises:
        MessageError: it is not taken; the text says why, and repeats nothing that was sent.

    """
    line = _LINE.match(block)
    if line is None:
        raise MalformedError("this is a proxy: it is asked with CONNECT host:443 HTTP/1.1")
    method, target = line[1], line[2].decode("ascii")
    headers = parse_fields(block, line.end(), _LIMITS)
    if b"transfer-encoding" in headers or headers.get(b"content-length") not in (None, b"0"):
        raise MalformedError("nothing follows what opens a connection through the proxy")
    if method == b"GET" and target.startswith("/"):
        return Page(target)
    if method != b"CONNECT":
        raise MethodError("this proxy is for https only: it takes CONNECT and nothing else")
    host = _host(target, headers)
    return Connect(host=host, credential=_credential(headers))


def _host(target: str, headers: Headers) -> str:
    found = _AUTHORITY.fullmatch(target)
    if found is None:
        raise MalformedError("CONNECT names a host and a port, as management.azure.com:443")
    host = found[1].lower()
    if int(found[2]) != PORT:
        raise ProxyRefusedError("this proxy connects to port 443 only")
    if NAME.fullmatch(host) is None:
        raise ProxyRefusedError("this proxy connects to names only, and not to addresses")
    said = headers.all(b"host")
    if len(said) > 1 or any(
        each.decode("latin-1").lower() not in (host, f"{host}:{PORT}") for each in said
    ):
        raise MalformedError("CONNECT and Host name different hosts")
    return host


def _credential(headers: Headers) -> Credential | None:
    values = headers.all(b"proxy-authorization")
    if not values:
        return None
    scheme, _, shown = values[0].partition(b" ")
    shown = shown.strip(b" ")
    if len(values) > 1 or scheme.lower() not in _SCHEMES or not shown:
        raise MalformedError("Proxy-Authorization is Basic, with a gateway token as the password")
    if scheme.lower() == b"bearer":
        return Credential(token=shown)
    try:
        user, colon, token = base64.b64decode(shown, validate=True).partition(b":")
        account = user.decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        account, colon, token = "", b"", b""
    good = colon and token and len(account) <= _USER_LIMIT and (account.isprintable())
    if not good or any(not 0x21 <= each <= 0x7E for each in token):
        raise MalformedError("Proxy-Authorization is not as Basic has it")
    return Credential(token=token, account="" if account in ("", "-") else account)
