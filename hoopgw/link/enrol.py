"""How an agent joins a gateway, and renews its certificate. Blocking: for a command, or a thread.

First contact is authenticated by the join token, which carries the SHA-256 of the CA certificate
that vouches for the gateway. That certificate is fetched without trust and without a secret, is
compared, and is all that is trusted from then on; only then is the join token's secret sent.
"""

from __future__ import annotations

import hashlib
import secrets
import ssl
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec
from attrs import asdict, evolve
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from hoopgw.errors import AuthenticationError, ConfigError, UnavailableError
from hoopgw.link import identity, witness
from hoopgw.link.certificates import request_certificate
from hoopgw.link.enrolment_api import (
    BODY_LIMIT,
    CA_PATH,
    ENROL_PATH,
    RENEW_PATH,
    Enrolled,
    EnrolRequest,
    JoinToken,
    read,
    sign_renewal,
)
from hoopgw.link.identity import Enrolment, Identity, key_pem

TIMEOUT: Final = 15.0
"""Seconds for each step of a request."""


class Ask(Protocol):
    """Asks the gateway something over HTTPS."""

    def __call__(self, url: str, body: bytes | None, context: ssl.SSLContext, /) -> bytes:
        """POST the body, or GET without one, and return the answer's.

        Raises:
            UnavailableError: the gateway could not be reached, or did not answer with 200.

        """
        ...


def ask(url: str, body: bytes | None, context: ssl.SSLContext, /) -> bytes:
    """Ask over HTTPS, with JSON; see `Ask`. Follows no redirect, and knows no proxy."""
    return _ask(url, body, context, "application/json")


def ask_form(url: str, body: bytes | None, context: ssl.SSLContext, /) -> bytes:
    """Ask over HTTPS, with a form; see `Ask`. Follows no redirect, and knows no proxy."""
    return _ask(url, body, context, "application/x-www-form-urlencoded")


def _ask(url: str, body: bytes | None, context: ssl.SSLContext, media: str) -> bytes:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise UnavailableError("the gateway's URL must be https://host:port")
    connection = HTTPSConnection(
        parts.hostname, parts.port or 443, timeout=TIMEOUT, context=context
    )
    try:
        headers = {"Content-Type": media, "Connection": "close"}
        connection.request("GET" if body is None else "POST", parts.path, body, headers)
        answer = connection.getresponse()
        data = answer.read(BODY_LIMIT + 1)
    except ssl.SSLCertVerificationError as error:
        raise UnavailableError(f"the gateway's certificate is not trusted: {error}") from error
    except (OSError, HTTPException) as error:
        raise UnavailableError(f"the gateway cannot be reached: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise UnavailableError(f"the gateway refused ({answer.status}): {_detail(data)}")
    return data


def join(
    token: str,
    state_dir: Path,
    name: str,
    *,
    ca: str = "",
    ask: Ask = ask,
    now: Callable[[], float] = time.time,
) -> Identity:
    """Enrol a new agent, or one anew, and keep its identity in its state folder.

    Args:
        token: the join token, as an operator got it from the gateway.
        state_dir: the agent's; made with mode 0700 if it is not there.
        name: the agent's, which must be the token's.
        ca: PEM to trust for the gateway, in place of what the token's fingerprint finds.
        ask: how the gateway is asked.
        now: the clock.

    Raises:
        AuthenticationError: the token is damaged or for another agent, or somebody else answers.
        UnavailableError: the gateway cannot be reached, or refuses.
        ConfigError: the state folder cannot be used.

    """
    read_token = JoinToken.decode(token)
    if read_token.name != name:
        raise AuthenticationError(f"the join token is for an agent named {read_token.name!r}")
    url = read_token.url.rstrip("/")
    pinned, ca = ca, ca or _fetch_ca(url, read_token.ca_sha256, ask)
    key = ec.generate_private_key(ec.SECP256R1())
    request = EnrolRequest(name=name, secret=read_token.secret, csr=request_certificate(key, name))
    answer = ask(url + ENROL_PATH, msgspec.json.encode(asdict(request)), trusting(ca))
    enrolled = read(answer, Enrolled)
    enrolment = _enrolment(name, url, pinned or enrolled.gateway_ca or ca, key, enrolled)
    found = Identity.of(enrolment, now())
    identity.save(state_dir, enrolment)
    witness.forget(state_dir)
    return found


def renew(
    current: Identity,
    *,
    ask: Ask = ask,
    now: Callable[[], float] = time.time,
) -> Identity:
    """Get the next certificate, for a new key; the caller keeps it. Raises as `join` does."""
    enrolment, key = current.enrolment, ec.generate_private_key(ec.SECP256R1())
    request = sign_renewal(
        current.key.key,
        enrolment.certificate,
        enrolment.name,
        request_certificate(key, enrolment.name),
        now(),
    )
    answer = ask(
        enrolment.url + RENEW_PATH,
        msgspec.json.encode(asdict(request)),
        trusting(enrolment.gateway_ca),
    )
    enrolled = read(answer, Enrolled)
    if enrolment.log_key:  # it is pinned, so that a gateway cannot begin another log unseen
        enrolled = evolve(enrolled, log_key=enrolment.log_key)
    # Who trusts the system's CAs for the gateway goes on doing so.
    ca = (enrolled.gateway_ca or enrolment.gateway_ca) if enrolment.gateway_ca else ""
    return Identity.of(_enrolment(enrolment.name, enrolment.url, ca, key, enrolled), now())


def _fetch_ca(url: str, fingerprint: str, ask: Ask) -> str:
    """Fetch the CA certificate that the token names. No secret goes over this connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # what is fetched is compared with the token's fingerprint
    answer = ask(url + CA_PATH, None, context)
    try:
        certificate = x509.load_pem_x509_certificate(answer)
    except ValueError as error:
        raise AuthenticationError("the gateway did not answer with its CA certificate") from error
    found = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
    if not secrets.compare_digest(found, fingerprint.lower()):
        raise AuthenticationError(
            "whoever answers is not the gateway that the join token is from; do not go on"
        )
    return certificate.public_bytes(Encoding.PEM).decode()


def trusting(ca: str) -> ssl.SSLContext:
    """Return a context that trusts this CA, or the system's if there is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if ca:
            context.load_verify_locations(cadata=ca)
        else:
            context.load_default_certs()
    except ssl.SSLError as error:
        raise ConfigError("the gateway's CA certificate cannot be used") from error
    return context


def _enrolment(
    name: str, url: str, ca: str, key: ec.EllipticCurvePrivateKey, enrolled: Enrolled
) -> Enrolment:
    return Enrolment(
        name=name,
        url=url,
        gateway_ca=ca,
        certificate=enrolled.certificate,
        key=key_pem(key),
        link_ca=enrolled.link_ca,
        ticket_keys=enrolled.ticket_keys,
        log_key=enrolled.log_key,
        trust=enrolled.trust,
    )


def _detail(data: bytes) -> str:
    """Return what an error's body says, fit to be shown."""
    try:
        body: Any = msgspec.json.decode(data)
        said = (body.get(name) for name in ("detail", "error_description", "error"))
        text = str(next(filter(None, said), "no reason given"))
    except (msgspec.MsgspecError, UnicodeDecodeError, AttributeError):
        text = "no reason given"
    return "".join(c if c.isprintable() else " " for c in text[:300])
