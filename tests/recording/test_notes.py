"""Tests for `hoopgw.recording.notes`."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.notes import (
    Checkpoint,
    NoteError,
    Verifier,
    is_origin,
    open_checkpoint,
    open_note,
    sign,
)
from tests.recording.samples import KEY, ORIGIN, VERIFIER

# From the documentation of Go's sumdb/note package, which the format comes from.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
GO_NOTE = (
    GO_TEXT
    + "\n\N{EM DASH} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZ"
    "SNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
HEAD = Checkpoint(ORIGIN, 1234, bytes(range(32)))
NOTE = sign(HEAD.text(), ORIGIN, KEY)


class SignedNoteTests(SynchronousTestCase):
    """Signed notes."""

    def test_a_note_of_another_implementation(self) -> None:
        verifier = Verifier.decode(GO_KEY)
        self.assertEqual(open_note(GO_NOTE.encode(), verifier), GO_TEXT)
        self.assertEqual(verifier.encode(), GO_KEY)

    def test_a_round_trip(self) -> None:
        self.assertEqual(open_checkpoint(NOTE, VERIFIER), HEAD)
        self.assertEqual(open_checkpoint(NOTE, Verifier.decode(VERIFIER.encode())), HEAD)

    def test_the_exact_form(self) -> None:
        lines = NOTE.decode().split("\n")
        self.assertEqual(lines[:2], [ORIGIN, "1234"])
        self.assertEqual(base64.b64decode(lines[2]), HEAD.root)
        self.assertEqual(lines[3], "")
        self.assertEqual(lines[4].split(" ")[:2], ["\N{EM DASH}", ORIGIN])
        signature = base64.b64decode(lines[4].split(" ")[2])
        self.assertEqual(len(signature), 4 + 64)
        self.assertEqual(signature[:4], VERIFIER.id)
        KEY.public_key().verify(signature[4:], HEAD.text().encode())

    def test_every_changed_byte_is_found(self) -> None:
        for at in range(len(NOTE)):
            changed = bytearray(NOTE)
            changed[at] ^= 1
            self.assertRaises(NoteError, open_checkpoint, bytes(changed), VERIFIER)

    def test_another_key_of_the_same_name(self) -> None:
        other = Ed25519PrivateKey.from_private_bytes(bytes(32))
        self.assertRaises(NoteError, open_checkpoint, sign(HEAD.text(), ORIGIN, other), VERIFIER)

    def test_another_log(self) -> None:
        head = Checkpoint("gw2.example", 1, HEAD.root)
        self.assertRaises(NoteError, open_checkpoint, sign(head.text(), ORIGIN, KEY), VERIFIER)

    def test_signatures_of_witnesses_are_passed_over(self) -> None:
        witness = sign(HEAD.text(), "witness.example", Ed25519PrivateKey.generate())
        line = witness.decode().split("\n\n")[1]
        self.assertEqual(open_checkpoint(NOTE + line.encode(), VERIFIER), HEAD)

    def test_one_wrong_signature_of_ours_spoils_it(self) -> None:
        wrong = sign("other\n", ORIGIN, KEY).decode().split("\n\n")[1]
        self.assertRaises(NoteError, open_checkpoint, NOTE + wrong.encode(), VERIFIER)

    @given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
    def test_garbage_raises_only_our_error(self, garbage: bytes) -> None:
        self.assertRaises(NoteError, open_checkpoint, garbage, VERIFIER)

    @given(st.text(max_size=80))
    def test_a_garbage_key_raises_only_our_error(self, garbage: str) -> None:
        self.assertRaises(NoteError, Verifier.decode, garbage)

    def test_malformed_sizes_and_roots(self) -> None:
        root = base64.b64encode(HEAD.root).decode()
        for text in (
            f"{ORIGIN}\n01\n{root}\n",
            f"{ORIGIN}\n-1\n{root}\n",
            f"{ORIGIN}\n1\n{root[:-4]}\n",
            f"{ORIGIN}\n1\n",
            f"{ORIGIN}\n99999999999999999999\n{root}\n",
            f"{ORIGIN}\n\u0661\n{root}\n",
        ):
            self.assertRaises(NoteError, open_checkpoint, sign(text, ORIGIN, KEY), VERIFIER)

    def test_names(self) -> None:
        for name in ("", "a b", "a+b", "a\nb", "a\u00a0b"):
            self.assertFalse(is_origin(name), name)
            self.assertRaises(ValueError, sign, "text\n", name, KEY)
        self.assertTrue(is_origin("gw1"))
        self.assertRaises(ValueError, sign, "no newline", ORIGIN, KEY)
