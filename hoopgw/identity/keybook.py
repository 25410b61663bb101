"""Every key of a gateway: what it is for, who knows it, and how another takes its place.

A key is replaced in three steps. The next one is made beside the present one, and told to all who
verify (*announced*). Once they know it, it signs (*switched*), and only the public part of the one
before is kept. When the last thing that the old one signed has ended, it is forgotten. What control
does and when is in `hoopgw.control.keys`; here are the files, and each step survives being stopped
in its middle.

``keys/STEM.key`` is the present key, ``keys/STEM.next.key`` the next; a CA has ``.crt`` besides.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import OKPKey

from hoopgw.config.gateway import GatewayPaths
from hoopgw.errors import ConfigError
from hoopgw.identity import caller_certificates, certificates, interception
from hoopgw.identity.authority import SKEW, Authority
from hoopgw.identity.key_kinds import KINDS, Form, KeyKind
from hoopgw.identity.private_files import (
    SECRET_SIZE,
    key_pem,
    load_certificate,
    load_private_key,
    load_secret,
    load_signing_key,
    read_private,
    replace_private,
    sync_folder,
    write_private,
)
from hoopgw.link import certificates as link_certificates


@frozen
class Retired:
    """A key that signs no more, and is accepted still."""

    public: str
    """PEM of a CA's certificate, or a public JWK."""
    until: float
    """Seconds since the epoch."""


@frozen(kw_only=True)
class Rotation:
    """How far the rotation of one key is."""

    announced: float | None = None
    """When the next key was made; None if there is none."""
    vouched: bool = False
    """Whether the operator says that callers know the next key."""
    switching: bool = False
    """Whether the next key takes the present one's place just now."""
    retired: tuple[Retired, ...] = ()


@frozen(kw_only=True)
class Described:
    """One key, for people."""

    fingerprint: str
    made: float
    ends: float | None
    """None for keys that have no end of their own."""


@frozen
class KeyBook:
    """The keys in one state folder. Blocking, and for one process at a time: control."""

    paths: GatewayPaths
    names: Sequence[str] = field(default=())
    """What the listeners' CA may issue for."""
    intercepted: Sequence[str] = field(default=())
    """What the interception CA may issue for; without any there is no such CA."""

    @property
    def kinds(self) -> Mapping[str, KeyKind]:
        """The keys that this gateway has."""
        return {name: kind for name, kind in KINDS.items() if self.intercepted or not kind.optional}

    def path(self, kind: KeyKind, *, ahead: bool = False, suffix: str = ".key") -> Path:
        """Return where a key is; ``ahead`` names the next one."""
        return self.paths.keys / f"{kind.stem}{'.next' if ahead else ''}{suffix}"

    def make(self, kind: KeyKind, now: datetime, *, ahead: bool = False) -> None:
        """Make a key, which must not be there yet.

        Raises:
            OSError: it is there, or cannot be written.
            ConfigError: the names that a CA is for are none.

        """
        path = self.path(kind, ahead=ahead)
        match kind.form:
            case Form.SIGNING:
                write_private(path, _jwk(OKPKey.generate_key("Ed25519", private=True)))
            case Form.SECRET:
                write_private(path, secrets.token_bytes(SECRET_SIZE))
            case Form.AUTHORITY:
                key = ec.generate_private_key(ec.SECP256R1())
                pem = self._authority(kind, key, now).public_bytes(Encoding.PEM)
                # The key last: without it, this is no CA.
                write_private(self.path(kind, ahead=ahead, suffix=".crt"), pem)
                write_private(path, key_pem(key))

    def complete(self, now: datetime) -> list[Path]:
        """Make what a state folder of an earlier release lacks; return what was made.

        Raises:
            ConfigError: it cannot be written.

        """
        made = []
        for kind in self.kinds.values():
            path = self.path(kind)
            if kind.recent and not path.exists():
                try:
                    self.path(kind, suffix=".crt").unlink(missing_ok=True)
                    self.make(kind, now)
                except OSError as error:
                    raise ConfigError(f"{path}: cannot be made: {error}") from error
                made.append(path)
        return made

    def announce(self, kind: KeyKind, now: datetime) -> None:
        """Make the next key. Raises `ConfigError`."""
        try:
            self.withdraw(kind)
            self.make(kind, now, ahead=True)
            sync_folder(self.paths.keys)
        except OSError as error:
            raise ConfigError(f"{self.paths.keys}: cannot be written: {error}") from error

    def withdraw(self, kind: KeyKind) -> None:
        """Forget the next key, if there is one."""
        for suffix in (".key", ".crt"):
            self.path(kind, ahead=True, suffix=suffix).unlink(missing_ok=True)

    def has_next(self, kind: KeyKind) -> bool:
        """Say whether a next key was made."""
        return self.path(kind, ahead=True).exists()

    def promote(self, kind: KeyKind) -> None:
        """Put the next key in place of the present one; again, if that was broken off."""
        suffixes = (".crt", ".key") if kind.form is Form.AUTHORITY else (".key",)
        try:
            for suffix in suffixes:
                path = self.path(kind, ahead=True, suffix=suffix)
                if path.exists():
                    path.rename(self.path(kind, suffix=suffix))
            sync_folder(self.paths.keys)
        except OSError as error:
            raise ConfigError(f"{self.paths.keys}: cannot be written: {error}") from error

    # What the keys are

    def authority(self, kind: KeyKind) -> Authority:
        """Return a CA that can issue. Raises `ConfigError`."""
        return Authority(
            load_certificate(self.path(kind, suffix=".crt")), load_private_key(self.path(kind))
        )

    def signing(self, kind: KeyKind, *, ahead: bool = False) -> OKPKey:
        """Return an Ed25519 key. Raises `ConfigError`."""
        return load_signing_key(self.path(kind, ahead=ahead))

    def secret(self, kind: KeyKind, *, ahead: bool = False) -> bytes:
        """Return a secret key. Raises `ConfigError`."""
        return load_secret(self.path(kind, ahead=ahead))

    def certificates(self, kind: KeyKind, rotation: Rotation) -> tuple[x509.Certificate, ...]:
        """Return the CAs that are accepted: the one that issues first. Raises `ConfigError`."""
        found = [load_certificate(self.path(kind, suffix=".crt"))]
        if rotation.announced is not None and self.has_next(kind):
            found.append(load_certificate(self.path(kind, ahead=True, suffix=".crt")))
        found += [x509.load_pem_x509_certificate(old.public.encode()) for old in rotation.retired]
        return tuple(dict.fromkeys(found))

    def public_keys(self, kind: KeyKind, rotation: Rotation) -> tuple[OKPKey, ...]:
        """Return the public keys that are accepted: the one that signs first."""
        found = [self.signing(kind)]
        if rotation.announced is not None and self.has_next(kind):
            found.append(self.signing(kind, ahead=True))
        published = [OKPKey.import_key(key.as_dict(private=False)) for key in found]
        published += [OKPKey.import_key(json.loads(old.public)) for old in rotation.retired]
        by_name = {key.thumbprint(): key for key in published}
        return tuple(by_name.values())

    def public(self, kind: KeyKind) -> str:
        """Return the public part of the present key, for `Retired`; empty for a secret."""
        match kind.form:
            case Form.AUTHORITY:
                path = self.path(kind, suffix=".crt")
                return load_certificate(path).public_bytes(Encoding.PEM).decode()
            case Form.SIGNING:
                return json.dumps(self.signing(kind).as_dict(private=False))
        return ""

    def describe(self, kind: KeyKind, *, ahead: bool = False) -> Described:
        """Return what can be told of a key. Raises `ConfigError`."""
        path = self.path(kind, ahead=ahead)
        match kind.form:
            case Form.AUTHORITY:
                return describe_certificate(
                    load_certificate(self.path(kind, ahead=ahead, suffix=".crt"))
                )
            case Form.SIGNING:
                fingerprint = load_signing_key(path).thumbprint()
            case Form.SECRET:
                digest = hashlib.sha256(b"hoopgw/key-name/v1\0" + load_secret(path)).hexdigest()
                fingerprint = digest[:32]
        return Described(fingerprint=fingerprint, made=path.stat().st_mtime, ends=None)

    def check_separate(self) -> None:
        """See that each purpose has a key of its own.

        Raises:
            ConfigError: one key serves two purposes; the text says which.

        """
        seen: dict[bytes, str] = {}
        for kind in KINDS.values():
            for ahead in (False, True):
                path = self.path(kind, ahead=ahead)
                if not path.exists():
                    continue
                material = _material(kind, path)
                if material in seen:
                    raise ConfigError(
                        f"{path}: is the same key as {seen[material]}; each purpose has a key of "
                        f"its own: 'hoopgw keys rotate {kind.name}' makes another"
                    )
                seen[material] = path.name
                if kind.form is Form.AUTHORITY:
                    self._check_pair(kind, ahead=ahead)

    def _check_pair(self, kind: KeyKind, *, ahead: bool) -> None:
        key = load_private_key(self.path(kind, ahead=ahead))
        path = self.path(kind, ahead=ahead, suffix=".crt")
        if load_certificate(path).public_key() != key.public_key():
            raise ConfigError(f"{path}: is not the certificate of the key beside it")

    def _authority(
        self, kind: KeyKind, key: ec.EllipticCurvePrivateKey, now: datetime
    ) -> x509.Certificate:
        match kind.name:
            case "listeners":
                return certificates.make_ca(key, self.names, now)
            case "link":
                return link_certificates.make_ca(key, now)
            case "callers":
                return caller_certificates.make_ca(key, now)
            case "interception":
                return interception.make_ca(key, self.intercepted, now)
        raise ValueError(f"{kind.name} is no CA")

    # How far rotations are

    def load(self) -> dict[str, Rotation]:
        """Return how far each key's rotation is. Raises `ConfigError`."""
        path = self.paths.rotations
        if not path.exists():
            return {name: Rotation() for name in self.kinds}
        try:
            values = json.loads(read_private(path))
            return {name: _rotation(values.get(name, {})) for name in self.kinds}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"{path}: is damaged: {error}") from error

    def save(self, rotations: Mapping[str, Rotation]) -> None:
        """Keep how far each is. Raises `ConfigError`."""
        values = {name: _values(each) for name, each in rotations.items() if each != Rotation()}
        replace_private(self.paths.rotations, json.dumps(values).encode())


def describe_certificate(certificate: x509.Certificate) -> Described:
    """Return what can be told of a CA."""
    public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Described(
        fingerprint=hashlib.sha256(public).hexdigest()[:32],
        made=(certificate.not_valid_before_utc + SKEW).timestamp(),
        ends=certificate.not_valid_after_utc.timestamp(),
    )


def describe_retired(kind: KeyKind, retired: Retired) -> Described:
    """Return what can be told of a key that signs no more."""
    if kind.form is Form.AUTHORITY:
        return describe_certificate(x509.load_pem_x509_certificate(retired.public.encode()))
    key = OKPKey.import_key(json.loads(retired.public))
    return Described(fingerprint=key.thumbprint(), made=0.0, ends=None)


def utc(seconds: float) -> datetime:
    """Return seconds since the epoch as certificates have time."""
    return datetime.fromtimestamp(seconds, UTC)


def _material(kind: KeyKind, path: Path) -> bytes:
    """Return what two uses of one key would share."""
    match kind.form:
        case Form.AUTHORITY:
            public = load_private_key(path).public_key()
            return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        case Form.SIGNING:
            return load_signing_key(path).thumbprint().encode()
    return hashlib.sha256(load_secret(path)).digest()


def _jwk(key: OKPKey) -> bytes:
    return json.dumps(key.as_dict(private=True)).encode()


def _rotation(values: Mapping[str, object]) -> Rotation:
    announced, retired = values.get("announced"), values.get("retired", [])
    if not isinstance(retired, list) or not isinstance(announced, float | int | None):
        raise TypeError("not a rotation")
    return Rotation(
        announced=None if announced is None else float(announced),
        vouched=values.get("vouched") is True,
        switching=values.get("switching") is True,
        retired=tuple(Retired(str(old["public"]), float(old["until"])) for old in retired),
    )


def _values(rotation: Rotation) -> dict[str, object]:
    return {
        "announced": rotation.announced,
        "vouched": rotation.vouched,
        "switching": rotation.switching,
        "retired": [{"public": old.public, "until": old.until} for old in rotation.retired],
    }
