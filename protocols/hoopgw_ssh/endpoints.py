"""Where forwards lead: requests read, and the places that none leads to unless a target says so.

A forward is opened by the target's server, from its own network: to the host itself (where
services trust who comes from loopback), to the cloud's metadata (which gives out credentials), to
SSH (which is another way in, past policy and recordings). Those are refused whatever policy says. A
target's option ``forwards`` names the ones that are for policy all the same.

A name is looked up by the target, after all this: what it stands for is not known here. Policies
should name the hosts that may be reached.

Reference: RFC 4254 section 7; OpenSSH's PROTOCOL, section 2.4; inet_aton(3) for what counts as an
address.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import Final, TypeAlias

from attrs import frozen

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh.wire import Reader

SSH_PORT: Final = 22
PATH_LIMIT: Final = 1_024
HOST_LIMIT: Final = 255
_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAMES: Final = frozenset(
    {"localhost", "ip6-localhost", "ip6-loopback", "ipv6-localhost", "ipv6-loopback", "loopback"}
    | {"localhost4", "localhost4.localdomain4", "localhost6", "localhost6.localdomain6"}
    | {"_localdnsstub", "_localdnsproxy", "localhost.localdomain"}
    | {"metadata", "metadata.google.internal", "metadata.azure.internal", "metadata.goog"}
    | {"instance-data", "instance-data.ec2.internal", "metadata.tencentyun.com"}
)
"""As distributions write them into /etc/hosts, systemd's resolver knows them, and clouds do."""
_LOCAL_DOMAINS: Final = (".localhost", ".localhost.localdomain")
_METADATA: Final = frozenset(
    map(
        ipaddress.ip_address,
        ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    )
)
"""Of Azure, Alibaba, Oracle, AWS and Google, besides 169.254.169.254."""
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_NUMBERS: Final = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}", re.IGNORECASE)


@frozen
class Endpoint:
    """A host and a port, or the path of a socket (its port is 0)."""

    host: str
    port: int = 0
    is_socket: bool = False

    @property
    def text(self) -> str:
        """As policy and people know it."""
        if self.is_socket:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_direct(kind: bytes, extra: bytes) -> Endpoint:
    """Read where a channel is to lead, or what it comes from.

    Args:
        kind: ``direct-tcpip``, ``forwarded-tcpip``, or those of OpenSSH's for sockets.
        extra: of the opening.

    Raises:
        ProtocolViolationError: it is malformed.

    """
    reader = Reader(extra)
    name = _name(reader)
    if kind.endswith(b"streamlocal@openssh.com"):
        reader.string()
        if kind.startswith(b"direct"):
            reader.uint32()
        reader.end()
        return _socket(name)
    port = reader.uint32()
    reader.string()
    reader.uint32()
    reader.end()
    return _of(name, port)


def read_listen(name: bytes, data: bytes) -> Endpoint:
    """Read where a target is asked to listen, or to listen no more.

    Raises:
        ProtocolViolationError: it is malformed.

    """
    reader = Reader(data)
    host = _name(reader)
    if b"streamlocal" in name:
        reader.end()
        return _socket(host)
    port = reader.uint32()
    reader.end()
    return _of(host, port)


def by_shell(host: str, port: str) -> Endpoint:
    """Return where a shell connects to by ``/dev/tcp``; the port 0 is a service's that has a name.

    Raises:
        ProtocolViolationError: no address is written so.

    """
    number = SSH_PORT if port == "ssh" else int(port) if port.isdecimal() else 0
    return _of(host, number)


def _name(reader: Reader) -> str:
    name = reader.text()
    if len(name) > PATH_LIMIT or any(each.isspace() for each in name):
        raise ProtocolViolationError("an address is malformed")
    return name


def _socket(path: str) -> Endpoint:
    if not path.startswith("/") or "/../" in f"{path}/":
        raise ProtocolViolationError("a socket has an absolute path, without ..")
    return Endpoint(re.sub(r"/(?:\.?/)+", "/", path), is_socket=True)


def _of(host: str, port: int) -> Endpoint:
    if port > 65_535 or len(host) > HOST_LIMIT or "/" in host:
        raise ProtocolViolationError("an address is malformed")
    return Endpoint(_plain(host), port)


def _plain(host: str) -> str:
    """Return a host in the one form in which policy knows it."""
    address = address_of(host)
    return host.lower().rstrip(".") if address is None else str(address)


def address_of(host: str) -> _Address | None:
    """Return the address that a host is, as resolvers read it: ``0x7f.1`` is 127.0.0.1."""
    text = host.strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return _by_numbers(text)
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(address.packed[-4:])
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _by_numbers(text: str) -> ipaddress.IPv4Address | None:
    """Read what inet_aton takes: one to four numbers, also octal and hexadecimal ones."""
    if not _NUMBERS.fullmatch(text.rstrip(".")):
        return None
    *first, last = text.rstrip(".").split(".")
    try:
        high = [_number(part) for part in first]
        low = _number(last)
    except ValueError:
        return None
    if any(part > 255 for part in high) or low >= 256 ** (4 - len(high)):
        return None
    value = low
    for at, part in enumerate(high):
        value += part << (24 - 8 * at)
    return ipaddress.IPv4Address(value)


def _number(text: str) -> int:
    if text.lower().startswith("0x"):
        return int(text[2:] or "0", 16)
    return int(text, 8) if len(text) > 1 and text.startswith("0") else int(text)


def never_leads_to(endpoint: Endpoint, gateways: Collection[str], lifted: Collection[str]) -> str:
    """Say why no forward leads somewhere; empty if policy decides.

    Args:
        endpoint: where to.
        gateways: names and addresses of this gateway.
        lifted: endpoints, as text, that the target leaves to policy.

    """
    if endpoint.is_socket or endpoint.text in lifted:
        return ""
    address, host = address_of(endpoint.host), endpoint.host
    if host in gateways:
        return "to the gateway itself"
    if host in _NAMES or host.endswith(_LOCAL_DOMAINS):
        return "to the host itself, or its cloud's metadata"
    if address is not None:
        if address.is_loopback or address.is_unspecified:
            return "to the host itself"
        if address.is_link_local or address in _METADATA:
            return "to link-local addresses, where a cloud's metadata are"
        if address.is_multicast:
            return "to many hosts"
    if not host:
        return "to nowhere"
    if endpoint.port == SSH_PORT:
        return "to SSH, which would not be seen: connect to that host by a target of its own"
    return ""
