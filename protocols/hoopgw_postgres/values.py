"""Masks on PostgreSQL's values: the same type and the same format come out as went in.

`compile_mask` gives a function from a value as it stands on the wire to what stands for it; None is
NULL. It never raises: what cannot be masked becomes NULL. Types that are not known here (enums,
arrays, ranges, composites, most extensions) become NULL, in either format.

Source: PostgreSQL's ``src/backend/utils/adt/*.c`` (the send and receive functions) and
``pg_type.dat`` for the OIDs.
"""

from __future__ import annotations

import ipaddress
import re
import struct
import uuid
from collections.abc import Callable, Mapping
from datetime import date
from typing import Final, TypeAlias

from attrs import define, field, frozen

from hoopgw.masking import mask_text, plain_kind, token, token_integer
from hoopgw.masking.kinds import HIDDEN, REDACTED, SHORT, SHOWN, email, last4
from hoopgw_postgres.numerics import decode_numeric, encode_numeric

Mask: TypeAlias = Callable[[bytes | None], bytes | None]
RowMask: TypeAlias = Callable[[bytes], bytes]
"""From a value that is not NULL to what goes on the wire for it, with its length before it."""

TEXT: Final = 25
BPCHAR: Final = 1042
_TEXTS: Final = frozenset({TEXT, 1043, BPCHAR, 19, 18})  # also varchar, name, "char"
_INTEGERS: Final[Mapping[int, int]] = {21: 2, 23: 4, 20: 8}  # int2, int4, int8: their width
_FLOATS: Final[Mapping[int, str]] = {700: ">f", 701: ">d"}
_NUMERIC, _UUID, _BYTEA, _JSON, _JSONB = 1700, 2950, 17, 114, 3802
_DATE, _TIMESTAMP, _TIMESTAMPTZ, _INET, _CIDR = 1082, 1114, 1184, 869, 650

_EPOCH: Final = date(2000, 1, 1).toordinal()
_DAY: Final = 86_400_000_000  # microseconds
_NO_DATE: Final = date(1970, 1, 1).toordinal() - _EPOCH
_ISO_DATE: Final = re.compile(rb"(\d{4})-\d\d-\d\d(?:[ T].*)?", re.DOTALL)
_HEADER: Final = 4  # what a typmod counts besides the length
_DOMAINS_LIMIT: Final = 1000
_DOMAIN_LIMIT: Final = 255  # bytes, RFC 5321


@frozen
class Constant:
    """A mask that gives one value for all; None is NULL."""

    value: bytes | None

    def __call__(self, value: bytes | None) -> bytes | None:
        """Return the value; NULL stays NULL."""
        return None if value is None else self.value


NULL: Final = Constant(None)
_HIDDEN: Final = HIDDEN.encode()


class Last4:
    """Mask ``last4`` of a text of any length."""

    def __call__(self, value: bytes | None) -> bytes | None:
        """Return the mask, in UTF-8 as the value is."""
        if value is None:
            return None
        if value.isascii():
            return _HIDDEN + value[-SHOWN:] if len(value) > SHORT else _HIDDEN
        try:
            return last4(value.decode()).encode()
        except UnicodeDecodeError:
            return None

    def framed(self, value: bytes) -> bytes:
        """Return the mask with its length before it."""
        return frame(self(value))


@define(eq=False)
class Email:
    """Mask ``email`` of a text of any length; there are few domains, so they are kept."""

    _domains: dict[bytes, bytes] = field(factory=dict, init=False, repr=False)

    def __call__(self, value: bytes | None) -> bytes | None:
        """Return the mask, in UTF-8 as the value is."""
        return None if value is None else _unframed(self.framed(value))

    def framed(self, value: bytes) -> bytes:
        """Return the mask with its length before it."""
        at = value.rfind(b"@")
        domain = value[at:] if at > 0 else b""
        known = self._domains.get(domain)
        if known is not None:
            return known
        try:
            known = frame(email("x" + domain.decode()).encode())
        except UnicodeDecodeError:
            return frame(None)
        if len(self._domains) < _DOMAINS_LIMIT and len(domain) <= _DOMAIN_LIMIT:
            self._domains[domain] = known
        return known


def frame(value: bytes | None) -> bytes:
    """Return a value as a row holds it, with its length before it."""
    return b"\xff\xff\xff\xff" if value is None else len(value).to_bytes(4, "big") + value


def framing(mask: Mask) -> bytes | RowMask:
    """Return what writes a mask's values into rows; the bytes themselves if they never differ."""
    if isinstance(mask, Constant):
        return frame(mask.value)
    if isinstance(mask, Last4 | Email):
        return mask.framed
    return lambda value: frame(mask(value))


def _unframed(framed: bytes) -> bytes | None:
    return None if framed[:4] == b"\xff\xff\xff\xff" else framed[4:]


def compile_mask(kind: str, type_oid: int, format_code: int, key: bytes, typmod: int = -1) -> Mask:
    """Return what masks values of one column.

    Args:
        kind: one of `hoopgw.masking.KINDS`; any other hides all.
        type_oid: of the column.
        format_code: 0 is text, 1 is binary.
        key: for tokens.
        typmod: of the column; a text is cut, or padded, to what fits.

    """
    kind = plain_kind(kind)
    if kind == "null" or format_code not in (0, 1):
        return NULL
    binary = format_code == 1
    if type_oid in _TEXTS:
        return _text(kind, key, typmod, padded=type_oid == BPCHAR)
    mask: Mask | None = None
    if kind == "hash":
        mask = _token(type_oid, key, typmod, binary=binary)
    elif kind == "year":
        mask = _year(type_oid, binary=binary)
    elif kind == "last4" and type_oid in (_INET, _CIDR):
        mask = _network_binary if binary else _network_text
    if mask is None:
        return Constant(_redacted(type_oid, binary=binary))
    return _safe(mask)


def _safe(mask: Mask) -> Mask:
    """Turn whatever a value makes go wrong into NULL."""

    def masked(value: bytes | None) -> bytes | None:
        if value is None:
            return None
        try:
            return mask(value)
        except (ValueError, ArithmeticError, LookupError, struct.error, TypeError):
            return None

    return masked


def _redacted(type_oid: int, *, binary: bool) -> bytes | None:
    """Return the fixed value of a type; None where there is no innocent one."""
    if type_oid in _INTEGERS:
        return bytes(_INTEGERS[type_oid]) if binary else b"0"
    if type_oid in _FLOATS:
        return struct.pack(_FLOATS[type_oid], 0.0) if binary else b"0"
    found: dict[int, tuple[bytes, bytes]] = {
        _NUMERIC: (b"0", encode_numeric(0)),
        _UUID: (b"00000000-0000-0000-0000-000000000000", bytes(16)),
        _JSON: (b"{}", b"{}"),
        _JSONB: (b"{}", b"\1{}"),
        _DATE: (b"1970-01-01", struct.pack(">i", _NO_DATE)),
        _TIMESTAMP: (b"1970-01-01 00:00:00", struct.pack(">q", _NO_DATE * _DAY)),
        _TIMESTAMPTZ: (b"1970-01-01 00:00:00+00", struct.pack(">q", _NO_DATE * _DAY)),
    }
    texts = found.get(type_oid)
    return None if texts is None else texts[binary]


# Text


def _text(kind: str, key: bytes, typmod: int, *, padded: bool) -> Mask:
    """Mask varchar(n), char(n), text and the like; both formats are the same."""
    size = typmod - _HEADER if typmod > _HEADER else None

    def fit(text: str) -> bytes:
        if size is not None:
            text = text[:size]
            if padded:
                text = text.ljust(size)
        return text.encode()

    if kind == "redact":
        return Constant(fit(REDACTED))
    if size is None and not padded and kind in _FAST:
        return _FAST[kind]()

    def mask(value: bytes | None) -> bytes | None:
        assert value is not None
        text = value.decode()
        # char(n) and varchar(n) of the same value must give the same token.
        masked = mask_text(kind, text.rstrip(" ") if padded else text, key)
        return None if masked is None else fit(masked)

    return _safe(mask)


_FAST: Final[Mapping[str, Callable[[], Mask]]] = {"last4": Last4, "email": Email}


# Tokens. What is hashed is the value as text in one spelling, whatever its type and format, so that
# an integer column can be joined with a numeric one.


def _token(type_oid: int, key: bytes, typmod: int, *, binary: bool) -> Mask | None:
    if type_oid in _INTEGERS:
        width = _INTEGERS[type_oid]
        return _integer_token(key, width, binary=binary)
    if type_oid in _FLOATS:
        return _float_token(key, _FLOATS[type_oid], binary=binary)
    if type_oid == _NUMERIC:
        return _numeric_token(key, typmod, binary=binary)
    if type_oid == _UUID:
        return _uuid_token(key, binary=binary)
    if type_oid == _BYTEA:
        return _bytea_token(key, binary=binary)
    return None


def _integer_token(key: bytes, width: int, *, binary: bool) -> Mask:
    limit = 2 ** (8 * width - 1)

    def mask(value: bytes | None) -> bytes:
        assert value is not None
        spelled = b"%d" % int.from_bytes(value, "big", signed=True) if binary else value
        number = token_integer(key, spelled, limit)
        return number.to_bytes(width, "big") if binary else b"%d" % number

    return mask


def _float_token(key: bytes, form: str, *, binary: bool) -> Mask:
    limit = 2**24 if form == ">f" else 2**53

    def mask(value: bytes | None) -> bytes:
        assert value is not None
        number = struct.unpack(form, value)[0] if binary else float(value)
        spelled = b"%d" % int(number) if number == int(number) else repr(number).encode()
        masked = token_integer(key, spelled, limit)
        return struct.pack(form, float(masked)) if binary else b"%d" % masked

    return mask


def _numeric_token(key: bytes, typmod: int, *, binary: bool) -> Mask:
    limit = 2**63
    if typmod >= _HEADER:  # numeric(p, s): p in the upper half, s as 11 bits with a sign
        precision = (typmod - _HEADER) >> 16 & 0xFFFF
        scale = ((typmod - _HEADER & 0x7FF) ^ 1024) - 1024
        limit = min(limit, 10 ** max(precision - scale, 0))

    def mask(value: bytes | None) -> bytes:
        assert value is not None
        spelled = decode_numeric(value) if binary else value.decode("ascii")
        if not spelled.lstrip("-")[:1].isdigit():
            raise ValueError("NaN or infinity")
        if "." in spelled:
            spelled = spelled.rstrip("0").rstrip(".")
        number = token_integer(key, spelled.encode(), limit)
        return encode_numeric(number) if binary else b"%d" % number

    return mask


def _uuid_token(key: bytes, *, binary: bool) -> Mask:
    def mask(value: bytes | None) -> bytes:
        assert value is not None
        raw = value if binary else uuid.UUID(value.decode("ascii")).bytes
        masked = bytearray(token(key, raw)[:16])
        masked[6] = masked[6] & 0x0F | 0x80  # version 8 (RFC 9562): made in a way of our own
        masked[8] = masked[8] & 0x3F | 0x80
        return bytes(masked) if binary else str(uuid.UUID(bytes=bytes(masked))).encode()

    return mask


def _bytea_token(key: bytes, *, binary: bool) -> Mask:
    def mask(value: bytes | None) -> bytes:
        assert value is not None
        if binary:
            return token(key, value)
        if not value.startswith(b"\\x"):
            raise ValueError("bytea_output = escape")
        return b"\\x" + token(key, bytes.fromhex(value[2:].decode("ascii"))).hex().encode()

    return mask


# Dates and networks


def _year(type_oid: int, *, binary: bool) -> Mask | None:
    if type_oid not in (_DATE, _TIMESTAMP, _TIMESTAMPTZ):
        return None
    suffix = {_DATE: b"", _TIMESTAMP: b" 00:00:00", _TIMESTAMPTZ: b" 00:00:00+00"}[type_oid]
    redacted = _redacted(type_oid, binary=binary)

    def text(value: bytes | None) -> bytes | None:
        assert value is not None
        iso = _ISO_DATE.fullmatch(value)
        if iso is None or value.endswith(b"BC"):
            return redacted  # another DateStyle, infinity, or very long ago
        return iso[1] + b"-01-01" + suffix

    def number(value: bytes | None) -> bytes | None:
        assert value is not None
        count = int.from_bytes(value, "big", signed=True)
        days = count if type_oid == _DATE else count // _DAY
        if not 0 < days + _EPOCH <= date.max.toordinal():
            return redacted
        first = date.fromordinal(days + _EPOCH).replace(month=1, day=1).toordinal() - _EPOCH
        form, unit = (">i", 1) if type_oid == _DATE else (">q", _DAY)
        return struct.pack(form, first * unit)

    return number if binary else text


def _network_text(value: bytes | None) -> bytes | None:
    """Show the /24 of an IPv4 address."""
    assert value is not None
    address = ipaddress.IPv4Address(value.decode("ascii").partition("/")[0])
    return str(ipaddress.IPv4Network((address, 24), strict=False)).encode()


def _network_binary(value: bytes | None) -> bytes | None:
    """Show the /24 of an IPv4 address: family, bits, is_cidr, length, address."""
    assert value is not None
    family, _, is_cidr, length = value[:4]
    if (family, length, len(value)) != (2, 4, 8):
        raise ValueError("not IPv4")
    return bytes((family, 24, is_cidr, length)) + value[4:7] + b"\0"
