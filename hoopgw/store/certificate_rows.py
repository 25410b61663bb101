"""Certificates of callers as the store keeps them, and the seam behind which it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

from attrs import frozen

CertificateKind: TypeAlias = Literal["x509", "ssh"]


@frozen(kw_only=True)
class CertificateRow:
    """A certificate that was issued to a caller."""

    serial: int
    kind: CertificateKind
    login: str
    lineage: tuple[str, ...]
    """What ends it when it is revoked: log-in, delegations, the certificate itself."""
    issued: float
    expires: float


class CertificateStore(Protocol):
    """Where they are kept. Each call raises `UnavailableError` if the store cannot be used."""

    def keep(self, row: CertificateRow, limits: Sequence[int]) -> bool:
        """Keep a new one; False, and nothing is kept, if its log-in has so many already.

        ``limits`` are for each generation of its chain, the root's first: how many it may have
        together with those below it.
        """
        ...

    def find(self, serial: int) -> CertificateRow | None:
        """Return one; None if there is none, or if its seal does not hold."""
        ...

    def of_login(self, login: str, now: float) -> Sequence[int]:
        """Return the serial numbers of a log-in's, and of all that descends from it, in order."""
        ...

    def revoked(self, kind: CertificateKind, now: float) -> Sequence[int]:
        """Return the serial numbers of those that were revoked and have not ended, in order."""
        ...
