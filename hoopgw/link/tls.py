"""TLS of the link: both sides prove themselves to the link's own CA, with TLS 1.3 only."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Final

_NO_PASSWORD: Final = b""


def listener_context(certificate: Path, key: Path, ca: Path) -> ssl.SSLContext:
    """Return the context of the gateway's link listener: agents must show a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key, _no_password)
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0  # resumed sessions would skip the look at the certificate
    return context


def agent_context(chain: bytes, ca: str) -> ssl.SSLContext:
    """Return an agent's context; connect with the name `hoopgw.link.certificates.LINK_HOST`.

    Args:
        chain: the agent's key and certificate, PEM.
        ca: the link's CA, PEM: nothing else is trusted.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    load_chain(context, chain)
    context.load_verify_locations(cadata=ca)
    return context


def load_chain(context: ssl.SSLContext, chain: bytes) -> None:
    """Give a context a certificate and key (PEM) from memory, though `ssl` reads only files.

    Raises:
        ssl.SSLError: they cannot be used.

    """
    descriptor = os.memfd_create("chain", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, chain)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_no_password)
    finally:
        os.close(descriptor)


def _no_password() -> bytes:
    """Answer OpenSSL, which would ask the terminal for the password of an encrypted key."""
    return _NO_PASSWORD
