"""TLS from the agent to a target: how far it verifies, and the contexts for that.

``verify-full`` is what a target on TCP gets unless its configuration says otherwise; ``require``
encrypts and verifies nothing, so it must be asked for by name.
"""

from __future__ import annotations

import os
import ssl
from typing import Final, Literal, TypeAlias

from attrs import define, field

from hoopgw.errors import LinkError
from hoopgw.link.tls import load_chain

Mode: TypeAlias = Literal["verify-full", "verify-ca", "require", "disable"]
MODES: Final = ("verify-full", "verify-ca", "require", "disable")


@define(eq=False)
class Contexts:
    """TLS contexts by mode and trust. Made once each: reading the system's store takes 10 ms."""

    _made: dict[tuple[Mode, str, int], ssl.SSLContext] = field(factory=dict, init=False)

    def get(self, mode: Mode, ca: str | None, client: bytes | None) -> ssl.SSLContext:
        """Return a context; with a client's certificate and key (PEM) it is made anew each time.

        Raises:
            LinkError: the CA file or the client's certificate cannot be used.

        """
        try:
            if client is not None:
                context = _make(mode, ca)
                load_chain(context, client)
                return context
            changed = os.stat(ca).st_mtime_ns if ca is not None else 0
            key = mode, ca or "", changed
            if key not in self._made:
                self._made = {k: v for k, v in self._made.items() if k[1] != key[1] or not ca}
                self._made[key] = _make(mode, ca)
            return self._made[key]
        except (OSError, ssl.SSLError) as error:
            # Not "from error": OpenSSL may quote the file.
            raise LinkError(f"the agent's TLS is set up wrongly ({type(error).__name__})") from None


def _make(mode: Mode, ca: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = mode == "verify-full"
    if mode == "require":
        context.verify_mode = ssl.CERT_NONE
    elif ca is not None:
        context.load_verify_locations(ca)
    else:
        context.load_default_certs()
    return context
