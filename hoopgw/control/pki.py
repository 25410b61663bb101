"""``/pki``: lists of revoked certificates and public keys, for whoever verifies what we issue.

A list is made when it is asked for, at most once a second, and anew when something was revoked or
half its time is over. Its number only grows, also if the clock is set back and control starts
again: the last one is kept in the state folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from attrs import define, field
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import Request

from hoopgw.control.api_certificates import PublicKeys
from hoopgw.control.keys import KeyKeeper
from hoopgw.errors import ConfigError
from hoopgw.identity.endpoint import Document
from hoopgw.identity.private_files import read_private, replace_private
from hoopgw.identity.revocation_lists import CRL_LIFETIME, make_crl, make_krl
from hoopgw.store.certificate_rows import CertificateKind
from hoopgw.store.rows import Store
from hoopgw.store.sqlite_certificates import REVOKED_LIMIT

log = Logger()

REFRESH: Final = CRL_LIFETIME.total_seconds() / 2
"""Seconds after which a list is made anew although nothing has changed."""
_PAUSE: Final = 1.0


@define(eq=False)
class Numbers:
    """Numbers for lists: each greater than all before, whatever the clock does."""

    _path: Path
    _last: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        try:
            self._last = int(read_private(self._path)) if self._path.exists() else 0
        except ValueError as error:
            raise ConfigError(f"{self._path}: is no number; remove it") from error

    def next(self, now: float) -> int:
        """Return one, once it is kept."""
        self._last = max(self._last + 1, int(now))
        replace_private(self._path, str(self._last).encode())
        return self._last


@define(eq=False)
class _List:
    """One list, as it was made last."""

    serials: Sequence[int]
    keys: object
    data: bytes
    made: float


@define(eq=False)
class RevocationLists:
    """Makes them."""

    _keys: KeyKeeper
    _store: Store
    _numbers: Numbers
    _now: Callable[[], float]
    _made: dict[CertificateKind, _List] = field(factory=dict, init=False, repr=False)

    def crl(self) -> bytes:
        """Return the list of callers' certificates, DER, signed by the CA that issues now."""
        authority = self._keys.callers
        return self._current(
            "x509",
            authority.certificate,
            lambda serials, now: make_crl(authority, serials, self._numbers.next(now), now),
        )

    def krl(self) -> bytes:
        """Return the list of SSH user certificates."""
        found = [key.public_key for key in self._keys.accepted_keys("ssh-users")]
        keys = tuple(key for key in found if isinstance(key, Ed25519PublicKey))
        return self._current(
            "ssh",
            tuple(key.public_bytes_raw() for key in keys),
            lambda serials, now: make_krl(keys, serials, self._numbers.next(now), now),
        )

    def _current(
        self,
        kind: CertificateKind,
        keys: object,
        make: Callable[[Sequence[int], float], bytes],
    ) -> bytes:
        now, made = self._now(), self._made.get(kind)
        if made is not None and made.keys == keys and 0 <= now - made.made < _PAUSE:
            return made.data
        serials = self._store.certificates.revoked(kind, now)
        if len(serials) >= REVOKED_LIMIT:
            log.error(
                "more than {limit} certificates were revoked: a list lacks some",
                limit=REVOKED_LIMIT,
            )
        fresh = made is not None and 0 <= now - made.made < REFRESH
        if made is None or not fresh or made.keys != keys or made.serials != serials:
            made = self._made[kind] = _List(serials, keys, make(serials, now), now)
        return made.data


class PkiDocument(Resource):
    """One public document, as it is now."""

    isLeaf = True

    def __init__(self, give: Callable[[], bytes], kind: str) -> None:
        Resource.__init__(self)
        self._give = give
        self._kind = kind

    def render_GET(self, request: Request) -> bytes:
        """Give it."""
        request.setHeader(b"content-type", self._kind.encode())
        request.setHeader(b"cache-control", b"no-cache")
        return self._give()


def pki_resource(public: PublicKeys, lists: RevocationLists) -> Resource:
    """Return what is below ``/pki``."""
    root = Resource()
    root.putChild(b"listeners.json", Document(lambda: {"pem": public.listeners().decode()}))
    hosts = Document(lambda: {"keys": public.ssh_hosts().decode().splitlines()})
    root.putChild(b"ssh-hosts.json", hosts)
    for name, give, kind in (
        ("listeners.pem", public.listeners, "application/x-pem-file"),
        ("callers.pem", public.callers, "application/x-pem-file"),
        ("interception.pem", public.interception, "application/x-pem-file"),
        ("callers.crl", lists.crl, "application/pkix-crl"),
        ("ssh-users.pub", public.ssh_users, "text/plain; charset=us-ascii"),
        ("ssh-hosts.pub", public.ssh_hosts, "text/plain; charset=us-ascii"),
        ("ssh-users.krl", lists.krl, "application/octet-stream"),
    ):
        root.putChild(name.encode(), PkiDocument(give, kind))
    return root
