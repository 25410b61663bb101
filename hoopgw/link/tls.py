"""TLS of the link: both sides prove themselves to the link's own CA, with TLS 1.3 only."""

from __future__ import annotations

import ssl
from pathlib import Path


def listener_context(certificate: Path, key: Path, ca: Path) -> ssl.SSLContext:
    """Return the context of the gateway's link listener: agents must show a certificate."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, ca)
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0  # resumed sessions would skip the look at the certificate
    return context


def agent_context(chain: Path, ca: Path) -> ssl.SSLContext:
    """Return an agent's context; connect with the name `hoopgw.link.certificates.LINK_HOST`.

    Args:
        chain: PEM file with the agent's key and certificate.
        ca: PEM file with the link's CA: nothing else is trusted.

    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, ca)
    context.load_cert_chain(chain)
    return context


def _context(kind: int, ca: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(kind)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(ca)
    return context
