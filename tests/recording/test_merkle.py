"""Tests for `hoopgw.recording.merkle`: against the RFC's definition, and published vectors."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.framing import DamagedError
from hoopgw.recording.hashes import Growth, HashFiles
from hoopgw.recording.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    leaf_hashes,
    node_hash,
    parents,
    plain_parents,
    root_of,
    verify_consistency,
    verify_inclusion,
)

# The eight inputs and roots of the Certificate Transparency project's reference tests.
VECTORS = [
    ("", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
    ("00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
    ("10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
    ("2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
    ("3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
    ("40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
    ("5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
    (
        "606162636465666768696a6b6c6d6e6f",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ),
]
SIZE = 300


def reference_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    left, right = reference_root(leaves[:k]), reference_root(leaves[k:])
    return hashlib.sha256(b"\1" + left + right).digest()


def reference_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962, section 2.1.1, word for word."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m < k:
        return [*reference_path(m, leaves[:k]), reference_root(leaves[k:])]
    return [*reference_path(m - k, leaves[k:]), reference_root(leaves[:k])]


def reference_subproof(m: int, leaves: list[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962, section 2.1.2, word for word."""
    if m == len(leaves):
        return [] if whole else [reference_root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m <= k:
        return [*reference_subproof(m, leaves[:k], whole), reference_root(leaves[k:])]
    return [*reference_subproof(m - k, leaves[k:], False), reference_root(leaves[:k])]


LEAVES = [str(number).encode() * 3 for number in range(SIZE)]
ROOTS = [reference_root(LEAVES[:size]) for size in range(SIZE + 1)]


class Memory:
    """Complete nodes by the definition, remembered."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, int], bytes] = {}

    def __call__(self, level: int, index: int) -> bytes:
        if (level, index) not in self.known:
            start, end = index << level, (index + 1) << level
            assert end <= SIZE, "a node that is not complete was asked for"
            self.known[level, index] = reference_root(LEAVES[start:end])
        return self.known[level, index]


NODES = Memory()
sizes = st.integers(1, SIZE)


class TreeTests(SynchronousTestCase):
    """Roots."""

    def test_published_vectors(self) -> None:
        tree, leaves = Frontier(), list[bytes]()
        self.assertEqual(tree.root(), EMPTY_ROOT)
        for data, root in VECTORS:
            leaves.append(bytes.fromhex(data))
            tree.append(leaf_hash(leaves[-1]))
            self.assertEqual(tree.root().hex(), root)
            self.assertEqual(reference_root(leaves).hex(), root)

    def test_every_size_up_to_300(self) -> None:
        tree = Frontier()
        for size in range(SIZE + 1):
            self.assertEqual((tree.size, tree.root()), (size, ROOTS[size]))
            self.assertEqual(root_of(size, NODES), ROOTS[size])
            self.assertEqual(Frontier.at(size, NODES), tree)
            if size < SIZE:
                tree.append(leaf_hash(LEAVES[size]))

    @given(sizes, sizes)
    def test_many_at_once(self, before: int, more: int) -> None:
        """Leaves that are added together make the same tree, and give all its new nodes."""
        tree = Frontier.at(before, NODES)
        upto = min(before + more, SIZE)
        made = tree.extend(b"".join(leaf_hashes(LEAVES[before:upto])))
        self.assertEqual(tree, Frontier.at(upto, NODES))
        for level in range(10):
            new = [NODES(level, index) for index in range(before >> level, upto >> level)]
            self.assertEqual(made[level] if level < len(made) else b"", b"".join(new))

    @given(st.integers(0, 40))
    def test_parents(self, many: int) -> None:
        """Compiled or not, and with or without a last one that is alone."""
        row = ROOTS[:many]
        expected = [node_hash(*pair) for pair in zip(row[::2], row[1::2], strict=False)]
        for way in (plain_parents, parents):
            self.assertEqual(way(b"".join(row)), b"".join(expected))

    def test_a_copy_grows_alone(self) -> None:
        tree = Frontier()
        tree.append(leaf_hash(b"a"))
        copy = tree.copy()
        copy.append(leaf_hash(b"b"))
        self.assertEqual((tree.size, copy.size), (1, 2))
        self.assertNotEqual(tree.root(), copy.root())


class InclusionTests(SynchronousTestCase):
    """Proofs that a leaf is there."""

    def test_every_leaf_of_every_small_tree(self) -> None:
        for size in range(1, 66):
            for index in range(size):
                proof = inclusion_proof(index, size, NODES)
                self.assertEqual(proof, reference_path(index, LEAVES[:size]))
                leaf = leaf_hash(LEAVES[index])
                self.assertTrue(verify_inclusion(leaf, index, size, proof, ROOTS[size]))

    @given(sizes, st.data())
    def test_it_is_the_rfcs(self, size: int, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, size - 1))
        proof = inclusion_proof(index, size, NODES)
        self.assertEqual(proof, reference_path(index, LEAVES[:size]))
        leaf = leaf_hash(LEAVES[index])
        self.assertTrue(verify_inclusion(leaf, index, size, proof, ROOTS[size]))

    @given(sizes, st.data())
    def test_nothing_else_is_proved(self, size: int, data: st.DataObject) -> None:
        """Another leaf, index, size, root, a changed, missing or added step: refused."""
        index = data.draw(st.integers(0, size - 1))
        proof, leaf = inclusion_proof(index, size, NODES), leaf_hash(LEAVES[index])
        other = data.draw(st.integers(0, SIZE - 1).filter(lambda at: at != index))
        self.assertFalse(verify_inclusion(leaf, other, size, proof, ROOTS[size]))
        self.assertFalse(verify_inclusion(leaf_hash(b"?"), index, size, proof, ROOTS[size]))
        self.assertFalse(verify_inclusion(leaf, index, size, proof, ROOTS[size - 1]))
        self.assertFalse(verify_inclusion(leaf, index, size, [*proof, leaf], ROOTS[size]))
        self.assertFalse(verify_inclusion(leaf, -1, size, proof, ROOTS[size]))
        if proof:
            self.assertFalse(verify_inclusion(leaf, index, size, proof[:-1], ROOTS[size]))
            at = data.draw(st.integers(0, len(proof) - 1))
            changed = [*proof[:at], leaf_hash(proof[at]), *proof[at + 1 :]]
            self.assertFalse(verify_inclusion(leaf, index, size, changed, ROOTS[size]))
            short = [*proof[:at], proof[at][:-1], *proof[at + 1 :]]
            self.assertFalse(verify_inclusion(leaf, index, size, short, ROOTS[size]))

    def test_a_leaf_that_is_not_there(self) -> None:
        for index, size in ((5, 5), (-1, 5), (0, 0)):
            self.assertRaises(ValueError, inclusion_proof, index, size, NODES)


class ConsistencyTests(SynchronousTestCase):
    """Proofs that one tree goes on from another."""

    def test_every_pair_of_small_trees(self) -> None:
        for second in range(66):
            for first in range(second + 1):
                proof = consistency_proof(first, second, NODES)
                if 0 < first < second:
                    self.assertEqual(proof, reference_subproof(first, LEAVES[:second], True))
                good = verify_consistency(first, second, proof, ROOTS[first], ROOTS[second])
                self.assertTrue(good, (first, second))

    @given(st.integers(0, SIZE), st.data())
    def test_nothing_else_is_proved(self, second: int, data: st.DataObject) -> None:
        first = data.draw(st.integers(0, second))
        proof = consistency_proof(first, second, NODES)
        old, new = ROOTS[first], ROOTS[second]
        self.assertTrue(verify_consistency(first, second, proof, old, new))
        self.assertFalse(verify_consistency(first, second, proof, leaf_hash(old), new))
        if first:
            self.assertFalse(verify_consistency(first, second, proof, old, leaf_hash(new)))
        self.assertFalse(verify_consistency(first, second, [*proof, old], old, new))
        self.assertFalse(verify_consistency(second + 1, second, proof, old, new))
        if proof:
            self.assertFalse(verify_consistency(first, second, proof[:-1], old, new))
            at = data.draw(st.integers(0, len(proof) - 1))
            changed = [*proof[:at], leaf_hash(proof[at]), *proof[at + 1 :]]
            self.assertFalse(verify_consistency(first, second, changed, old, new))

    def test_sizes_in_the_wrong_order(self) -> None:
        self.assertRaises(ValueError, consistency_proof, 3, 2, NODES)
        self.assertRaises(ValueError, consistency_proof, -1, 2, NODES)


class HashFilesTests(SynchronousTestCase):
    """The hash files give the nodes that the definition gives."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.files = HashFiles(self.directory, writable=True)
        self.addCleanup(self.files.close)

    def grow(self, tree: Frontier, upto: int) -> Frontier:
        growth = Growth(tree.copy())
        middle = (tree.size + upto) // 2
        for number in range(tree.size, middle):
            growth.add(leaf_hash(LEAVES[number]))
        growth.extend(b"".join(leaf_hashes(LEAVES[middle:upto])))
        self.files.append(tree.size, growth.rows)
        return growth.frontier

    def test_every_node(self) -> None:
        tree = Frontier()
        for size in (0, 7, 255, 256, 257, SIZE):
            tree = self.grow(tree, size)
        self.assertEqual(self.files.size(), SIZE)
        for level in range(9):
            for index in range(SIZE >> level):
                self.assertEqual(self.files.node(level, index), NODES(level, index))
        self.assertRaises(DamagedError, self.files.node, 0, SIZE)
        self.assertRaises(DamagedError, self.files.node, 8, 1)
        self.assertRaises(DamagedError, self.files.node, 16, 0)

    def test_truncated_and_grown_again(self) -> None:
        self.grow(Frontier(), SIZE)
        self.files.truncate(255)
        self.assertRaises(DamagedError, self.files.node, 8, 0)
        tree = Frontier.at(255, self.files.node)
        self.assertEqual(self.grow(tree, 258).root(), ROOTS[258])
        self.assertEqual(self.files.node(8, 0), NODES(8, 0))

    def test_an_upper_level_that_is_deep(self) -> None:
        """With 65,536 leaves the third file begins; proofs over it are good."""
        growth = Growth(Frontier())
        for _ in range(65_600):
            growth.add(leaf_hash(b"x"))
        self.files.append(0, growth.rows)
        self.assertEqual([len(row) // 32 for row in growth.rows], [65_600, 256, 1])
        root = growth.frontier.root()
        self.assertEqual(root_of(65_600, self.files.node), root)
        proof = inclusion_proof(65_599, 65_600, self.files.node)
        self.assertTrue(verify_inclusion(leaf_hash(b"x"), 65_599, 65_600, proof, root))
