"""Targets of requests inside of requests: in a batch, or named by a header. Pure.

Decoded once. What another reader might decode or normalise in another way is refused.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from hoopgw_azure.calls import Query
from hoopgw_azure.errors import UnclearRequestError

_LEFT_ENCODED: Final = re.compile(r"(?i)%(2f|5c|25|00|2e)")
_ALLOWED: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/%?-]*")
_BROKEN: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def split(url: str, hosts: frozenset[str]) -> tuple[tuple[str, ...], bool, Query]:
    """Return segments, whether a slash ends the path, and the query.

    Args:
        url: absolute, or beginning with a slash.
        hosts: that an absolute one may name, in lower case.

    Raises:
        UnclearRequestError: it is of another host, or not clear.

    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UnclearRequestError("this is no URL") from error
    absolute = parts.scheme or parts.netloc or not url.startswith("/") or url.startswith("//")
    if absolute and (parts.scheme != "https" or parts.netloc.lower() not in hosts):
        raise UnclearRequestError("a request inside of this one is for another host")
    if parts.fragment or not _ALLOWED.fullmatch(url):
        raise UnclearRequestError("the path of a request inside of this one is not clear")
    path = parts.path
    if _LEFT_ENCODED.search(path) or _BROKEN.search(url) or "//" in path or "?" in parts.query:
        raise UnclearRequestError("the path of a request inside of this one is not clear")
    slash = path.endswith("/")
    segments = tuple(_text(word) for word in path.strip("/").split("/")) if path != "/" else ()
    if {".", ".."} & set(segments):
        raise UnclearRequestError("the path of a request inside of this one is not clear")
    return segments, slash, tuple(_pair(each) for each in parts.query.split("&") if each)


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.replace("+", " ").partition("=")
    return _text(name), _text(value)


def _text(encoded: str) -> str:
    try:
        return unquote_to_bytes(encoded).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnclearRequestError("a request inside of this one is not UTF-8") from error
