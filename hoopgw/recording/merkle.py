"""The Merkle tree of RFC 6962 (and RFC 9162, which computes alike), with its proofs.

Pure: hashes in, hashes out. A *node* is named by its level and index: node ``(0, i)`` is the hash
of leaf ``i``, node ``(level, i)`` covers the ``2**level`` leaves from ``i << level``, and exists
when all of these do. Proofs are made from any source of such nodes (see `hoopgw.recording.hashes`)
and verified from nothing but hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Final, TypeAlias

from attrs import define, field

from hoopgw.transport import accelerated

Nodes: TypeAlias = Callable[[int, int], bytes]
"""Gives the hash of the complete node at (level, index)."""

Prover: TypeAlias = Callable[[int, int, Nodes], list[bytes]]
"""Either of `inclusion_proof` and `consistency_proof`."""

EMPTY_ROOT: Final = sha256(b"").digest()
HASH_SIZE: Final = 32
_PAIR: Final = 2 * HASH_SIZE


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf (RFC 6962, 2.1)."""
    return sha256(b"\0" + data).digest()


def leaf_hashes(data: Iterable[bytes]) -> list[bytes]:
    """Return the hashes of leaves."""
    return [sha256(b"\0" + leaf).digest() for leaf in data]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha256(b"\1" + left + right).digest()


def plain_parents(row: bytes) -> bytes:
    """Return the hashes of the nodes above neighbours; the last one may have none."""
    ends = range(_PAIR, len(row) + 1, _PAIR)
    return b"".join([sha256(b"\1" + row[end - _PAIR : end]).digest() for end in ends])


parents: Callable[[bytes], bytes] = plain_parents
"""`plain_parents`, or its compiled twin where that was built (`hoopgw.transport.accelerated`)."""
if accelerated.is_wanted("hoopgw.recording._batch"):
    from hoopgw.recording import _batch

    if _batch.can_hash():
        parents = _batch.parents


@define
class Frontier:
    """The right edge of a tree: all that is needed to append to it and to know its root."""

    size: int = 0
    _edge: list[bytes] = field(factory=list, repr=False)
    """The complete subtrees from left to right: one for each bit that is set in ``size``."""

    @classmethod
    def at(cls, size: int, nodes: Nodes) -> Frontier:
        """Return the frontier of a tree whose nodes are known."""
        return cls(size, [nodes(level, index) for level, index in _subtrees(0, size)])

    def append(self, leaf: bytes) -> list[bytes]:
        """Add a leaf by its hash.

        Returns the nodes that became complete above it, lowest (level 1) first.
        """
        count, made = self.size, []
        while count & 1:
            leaf = sha256(b"\1" + self._edge.pop() + leaf).digest()
            made.append(leaf)
            count >>= 1
        self._edge.append(leaf)
        self.size += 1
        return made

    def extend(self, leaves: bytes) -> list[bytes]:
        """Add leaves by their hashes: level by level, in less time than one after the other.

        Returns the nodes that became complete, by level; level 0 is the leaves. Hashes stand one
        behind the other, here and there.
        """
        made: list[bytes] = []
        lower: list[bytes] = []  # of the new edge, lowest first
        row, count, edge = leaves, self.size, self._edge
        while row:
            made.append(row)
            pairs = edge.pop() + row if count & 1 else row
            if len(pairs) % _PAIR:
                lower.append(pairs[-HASH_SIZE:])
            row = parents(pairs)
            count >>= 1
        edge.extend(reversed(lower))
        self.size += len(leaves) // HASH_SIZE
        return made

    def root(self) -> bytes:
        """Return the tree's root."""
        return _fold(self._edge)

    def copy(self) -> Frontier:
        """Return a copy that grows on its own."""
        return Frontier(self.size, list(self._edge))


def _fold(edge: Sequence[bytes]) -> bytes:
    if not edge:
        return EMPTY_ROOT
    root = edge[-1]
    for left in edge[-2::-1]:
        root = node_hash(left, root)
    return root


def _subtrees(start: int, end: int) -> list[tuple[int, int]]:
    """Return the complete nodes that cover the leaves of an RFC 6962 subtree, left to right.

    ``start`` is a multiple of the smallest power of two that is not below ``end - start``.
    """
    nodes = []
    for level in range((end - start).bit_length() - 1, -1, -1):
        if (end - start) >> level & 1:
            nodes.append((level, start >> level))
            start += 1 << level
    return nodes


def root_of(size: int, nodes: Nodes) -> bytes:
    """Return the root of the first ``size`` leaves."""
    return _range_root(0, size, nodes)


def _range_root(start: int, end: int, nodes: Nodes) -> bytes:
    return _fold([nodes(level, index) for level, index in _subtrees(start, end)])


def _split(size: int) -> int:
    """Return the largest power of two below ``size`` (which is at least 2)."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_proof(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """Prove that a leaf is in the tree of the first ``size`` leaves (RFC 6962, 2.1.1).

    Raises:
        ValueError: there is no such leaf.

    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_range_root(middle, end, nodes))
            end = middle
        else:
            proof.append(_range_root(start, middle, nodes))
            start = middle
    proof.reverse()
    return proof


def consistency_proof(first: int, second: int, nodes: Nodes) -> list[bytes]:
    """Prove that the tree of ``second`` leaves goes on from that of ``first`` (RFC 6962, 2.1.2).

    Raises:
        ValueError: the sizes do not follow one another.

    """
    if not 0 <= first <= second:
        raise ValueError(f"a tree of {second} does not go on from one of {first}")
    if first in (0, second):
        return []  # any tree goes on from the empty one, and from itself
    proof: list[bytes] = []
    start, end, left_edge = 0, second, True
    while first != end:
        middle = start + _split(end - start)
        if first <= middle:
            proof.append(_range_root(middle, end, nodes))
            end = middle
        else:
            proof.append(_range_root(start, middle, nodes))
            start, left_edge = middle, False
    if not left_edge:
        proof.append(_range_root(start, end, nodes))
    proof.reverse()
    return proof


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Say whether a proof shows that ``leaf`` (a leaf hash) is in the tree (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    number, last, running = index, size - 1, leaf
    for step in proof:
        if last == 0 or len(step) != HASH_SIZE:
            return False
        if number & 1 or number == last:
            running = node_hash(step, running)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            running = node_hash(running, step)
        number, last = number >> 1, last >> 1
    return last == 0 and running == root


def verify_consistency(
    first: int, second: int, proof: Sequence[bytes], first_root: bytes, second_root: bytes
) -> bool:
    """Say whether a proof shows that the second tree goes on from the first (RFC 9162, 2.1.4.2)."""
    if not 0 <= first <= second or any(len(step) != HASH_SIZE for step in proof):
        return False
    if first == second:
        return not proof and first_root == second_root
    if first == 0:
        return not proof and first_root == EMPTY_ROOT
    steps = list(proof)
    if first & (first - 1) == 0:
        steps.insert(0, first_root)  # a power of two is a node itself, and is not repeated
    if not steps:
        return False
    number, last = first - 1, second - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    old = new = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if number & 1 or number == last:
            old, new = node_hash(step, old), node_hash(step, new)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            new = node_hash(new, step)
        number, last = number >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root
