"""What workers and agents trust, as control tells them.

Each set has a name, which is a hash of all that is in it. Workers answer with it when they have
taken it, agents say it when they connect: so control knows when a next key is known everywhere.
Public parts only, except `AgentTrust.issuing`, which stays in control.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc.jwk import OKPKey

from hoopgw.identity.authority import Authority
from hoopgw.ipc import Body


@frozen(kw_only=True)
class AgentTrust:
    """What an agent is told when it joins and renews; in each list, what signs now is first."""

    issuing: Authority = field(repr=False)
    """The link's CA that issues."""
    link: tuple[x509.Certificate, ...]
    ticket_keys: tuple[OKPKey, ...] = field(repr=False)
    gateway: tuple[x509.Certificate, ...]
    """What vouches for the control listener."""
    own_gateway: bool
    """Whether that is a CA of ours, not an operator's."""

    @property
    def name(self) -> str:
        """Names all of it."""
        return _name(
            [
                *(b"link" + _der(each) for each in self.link),
                *(b"ticket" + key.thumbprint().encode() for key in self.ticket_keys),
                *(b"gateway" + _der(each) for each in self.gateway),
            ]
        )

    @property
    def link_pem(self) -> str:
        """The link's CAs, as agents keep them."""
        return pem(self.link)

    @property
    def gateway_pem(self) -> str:
        """The listeners' CAs; empty if they are an operator's own."""
        return pem(self.gateway) if self.own_gateway else ""


@frozen(kw_only=True)
class WorkerTrust:
    """What a worker is told."""

    issuer: str
    """The gateway's URL, which certificates must name."""
    link: tuple[bytes, ...]
    """CAs of the link, DER."""
    callers: tuple[bytes, ...]
    """CAs of callers, DER."""
    ssh_users: tuple[bytes, ...]
    """CAs of SSH users: raw Ed25519 keys."""
    ticket: str
    """Name of the key that signs tickets: it lies in the state folder."""
    mask: str
    """Fingerprint of the key that masks: it lies in the state folder."""
    agents: str
    """`AgentTrust.name`."""

    @property
    def name(self) -> str:
        """Names all of it."""
        return _name(
            [
                self.issuer.encode(),
                *(b"link" + each for each in self.link),
                *(b"callers" + each for each in self.callers),
                *(b"ssh" + each for each in self.ssh_users),
                b"ticket" + self.ticket.encode(),
                b"mask" + self.mask.encode(),
                b"agents" + self.agents.encode(),
            ]
        )

    def to_body(self) -> dict[str, Any]:
        """Return it for a call."""
        return {
            "issuer": self.issuer,
            "link": list(self.link),
            "callers": list(self.callers),
            "ssh_users": list(self.ssh_users),
            "ticket": self.ticket,
            "mask": self.mask,
            "agents": self.agents,
        }

    @classmethod
    def from_body(cls, body: Body) -> WorkerTrust:
        """Read what `to_body` gave. Raises `ValueError`, `KeyError`, `TypeError`."""
        return cls(
            issuer=str(body["issuer"]),
            link=tuple(map(bytes, body["link"])),
            callers=tuple(map(bytes, body["callers"])),
            ssh_users=tuple(map(bytes, body["ssh_users"])),
            ticket=str(body["ticket"]),
            mask=str(body["mask"]),
            agents=str(body["agents"]),
        )

    @property
    def link_authorities(self) -> tuple[x509.Certificate, ...]:
        """The link's CAs. Raises `ValueError`."""
        return tuple(map(x509.load_der_x509_certificate, self.link))

    @property
    def caller_authorities(self) -> tuple[x509.Certificate, ...]:
        """The callers' CAs. Raises `ValueError`."""
        return tuple(map(x509.load_der_x509_certificate, self.callers))

    @property
    def ssh_user_authorities(self) -> tuple[Ed25519PublicKey, ...]:
        """The CAs of SSH users. Raises `ValueError`."""
        return tuple(map(Ed25519PublicKey.from_public_bytes, self.ssh_users))


def pem(certificates: Iterable[x509.Certificate]) -> str:
    """Return certificates, one behind the other."""
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in certificates)


def der(certificates: Iterable[x509.Certificate]) -> tuple[bytes, ...]:
    """Return each certificate's DER."""
    return tuple(map(_der, certificates))


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _name(parts: Iterable[bytes]) -> str:
    state = hashlib.sha256(b"hoopgw/trust/v1\0")
    for part in parts:
        state.update(len(part).to_bytes(8, "big") + part)
    return state.hexdigest()[:32]
