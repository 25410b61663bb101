"""Principals as other processes of ours send them.

Invariant: whatever MessagePack holds, it is a principal or a `ValueError`, and a principal written
and read again is the same one.
"""

from __future__ import annotations

from typing import Final

import msgspec

from hoopgw.wire_values import principal_from_dict, principal_to_dict

_HOP: Final = {"id": "corp|1", "name": "alice", "kind": "person", "groups": ["dba"]}
SEEDS: Final = (
    msgspec.msgpack.encode({"chain": [_HOP, _HOP], "session": "s1", "expires": 5.0}),
    msgspec.msgpack.encode({"chain": [], "session": 1, "expires": "x"}),
)


def fuzz(data: bytes) -> None:
    """Read the bytes as MessagePack, and that as a principal."""
    try:
        values = msgspec.msgpack.decode(data, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    try:
        principal = principal_from_dict(values)
    except ValueError:
        return
    again = principal_from_dict(principal_to_dict(principal))
    assert again == principal or principal.expires != principal.expires
