"""What a certificate says of its holder: the whole chain, in one canonical form for X.509 and SSH.

The form is JSON with sorted members and no spaces (as RFC 8785 has it for what occurs here), so
that one chain has one spelling, and what is not exactly that is refused. It holds every hop with
its caps, every delegation's id, the log-in, the smallest end, and where it may be shown: whoever
has a certificate has no more than its chain. Pure; whatever the input, the only exception of
`decode` is `AuthenticationError`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from attrs import field, frozen
from attrs.validators import min_len

from hoopgw.errors import AuthenticationError
from hoopgw.events import Principal
from hoopgw.identity.jose import parse_object
from hoopgw.identity.tokens import CHAIN_LIMIT
from hoopgw.wire_values import principal_from_dict, principal_to_dict

SIZE_LIMIT: Final = 12 * 1024
"""Bytes of the form; groups are the most of it. A TLS record has 16 KiB."""
TARGETS_LIMIT: Final = 32
_VERSION: Final = 1
_OWN: Final = frozenset({"v", "iss", "end", "aud", "account"})
"""Members besides those of the principal."""


@frozen(kw_only=True)
class Certified:
    """Whom a certificate stands for, and where."""

    issuer: str
    """URL of the gateway."""
    principal: Principal
    """Its ``expires`` is when sessions end, which may be after the certificate's end."""
    targets: frozenset[str] = field(validator=min_len(1))
    account: str = ""
    """The only account that it may be shown for; empty is any."""

    def admits(self, target: str, account: str) -> None:
        """Check where it is shown.

        Raises:
            AuthenticationError: not here.

        """
        if target not in self.targets:
            raise AuthenticationError(f"the certificate is not for target {target}")
        if self.account not in ("", account):
            raise AuthenticationError(f"the certificate is not for account {account}")


def encode(certified: Certified) -> bytes:
    """Return the canonical form.

    Raises:
        AuthenticationError: it would be longer than any verifier takes: too many groups.

    """
    who = principal_to_dict(certified.principal)
    del who["expires"], who["proved"]  # the end is whole seconds, and each use proves the key anew
    form = {
        **who,
        "v": _VERSION,
        "iss": certified.issuer,
        "end": int(certified.principal.expires),
        "aud": sorted(certified.targets),
        "account": certified.account,
    }
    data = _canonical(form)
    if len(data) > SIZE_LIMIT:
        raise AuthenticationError(f"a certificate of {len(data)} bytes: too many groups")
    return data


def decode(data: bytes, issuer: str) -> Certified:
    """Return what `encode` was given.

    Args:
        data: the form.
        issuer: this gateway's URL.

    Raises:
        AuthenticationError: it is not in that form, too long, or of another gateway.

    """
    if len(data) > SIZE_LIMIT:
        raise AuthenticationError("the certificate's chain is too long")
    form = parse_object(data)
    if not form.keys() >= _OWN or type(form["v"]) is not int or form["v"] != _VERSION:
        raise AuthenticationError("the certificate's chain lacks what it should have")
    if form["iss"] != issuer:
        raise AuthenticationError("the certificate is of another gateway")
    certified = Certified(
        issuer=issuer,
        principal=_principal(form),
        targets=_targets(form["aud"]),
        account=str(form["account"]),
    )
    if encode(certified) != data:  # types, spelling, members that nobody knows: one form is good
        raise AuthenticationError("the certificate's chain is not in its canonical form")
    return certified


def _principal(form: Mapping[str, Any]) -> Principal:
    end = form["end"]
    if type(end) is not int or not 0 < end < 10**11:
        raise AuthenticationError("the certificate's end is none")
    try:
        # That the holder has the certificate's key, TLS or SSH proves.
        principal = principal_from_dict({**form, "expires": float(end), "proved": True})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise AuthenticationError("the certificate's chain is malformed") from error
    if len(principal.chain) > CHAIN_LIMIT or not principal.session:
        raise AuthenticationError("the certificate's chain is too deep, or of no log-in")
    return principal


def _targets(audience: Any) -> frozenset[str]:
    if not isinstance(audience, list) or not 0 < len(audience) <= TARGETS_LIMIT:
        raise AuthenticationError("the certificate is for no target")
    return frozenset(map(str, audience))


def _canonical(form: Mapping[str, Any]) -> bytes:
    text = json.dumps(form, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise AuthenticationError("a name that is no text") from error
