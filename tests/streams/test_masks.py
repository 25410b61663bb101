"""Tests for `hoopgw.streams.masks`."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.masking import token_text
from hoopgw.streams import masks
from hoopgw.streams.mask_rules import Rules, detected, of_literal, of_pattern, standard
from hoopgw.streams.mask_views import Reading, read
from hoopgw.streams.masks import KEPT, PATIENCE, QUIET, StreamMask
from tests.streams.masking import (
    BEFORE,
    COLOURS,
    JWT,
    KEY,
    MOVES,
    ODD,
    PLAIN,
    RULES,
    SECRETS,
    cut,
    reference,
    shown,
    singly,
    streams,
)

HOSTILE = (
    *(b"@", b"a", b"a@", b"1", b"1 ", b"1111 ", b"eyJ", b"eyJa.", b"AKIA", b"ghp_", b"."),
    *(b"-----BEGIN ", b"-----BEGIN PRIVATE KEY-----\n", b"password=", b"://", b"://a:"),
    *(b"\x1b", b"\x1b[", b"\x1b]", b"\x1b[1m", b"\x1b[5C", b"\x08", b"a\x08", b"A\x00"),
)
CUTS = st.lists(st.integers(0, 10_000), max_size=12)


class PropertyTests(SynchronousTestCase):
    """What holds of every stream."""

    @given(streams())
    @example(b"ghp_ghp_aB3dE6gH9aB3dE6gH9aB3dE6gH9aB3dE6gH9")
    @example(b"a@b@c.d.e@f.g")
    def test_whole_texts_are_masked_as_their_patterns_say(self, stream: bytes) -> None:
        """Fixed texts that are looked for first leave nothing out."""
        plain = stream.translate(None, b"\x00\x07\x08\x0e\x0f\x1b\x7f")
        self.assertEqual(shown(plain), reference(plain))

    @given(streams(*COLOURS, *MOVES, *ODD), CUTS)
    def test_pieces_do_not_matter(self, stream: bytes, cuts: list[int]) -> None:
        """Any cut shows the same as none, also where escape sequences are cut."""
        stream = stream.replace(b"\x08", b"")
        self.assertEqual(shown(stream, cuts), shown(stream))

    @given(streams(*COLOURS, *MOVES))
    def test_single_bytes_show_the_same(self, stream: bytes) -> None:
        """One byte at a time."""
        stream = stream.replace(b"\x08", b"")
        self.assertEqual(singly(stream), shown(stream))

    @given(streams(*COLOURS, *MOVES, *ODD, b"\x08", b"\x08\x08 "), CUTS)
    def test_compiled_and_plain_show_the_same(self, stream: bytes, cuts: list[int]) -> None:
        """The finder makes no difference."""
        self.assertEqual(shown(stream, cuts, PLAIN), shown(stream, cuts))

    @given(
        st.sampled_from(sorted(SECRETS)),
        st.lists(st.sampled_from(COLOURS), max_size=4),
        st.lists(st.integers(0, 60), max_size=4),
        CUTS,
    )
    def test_no_byte_of_a_secret_is_shown(
        self, name: str, colours: list[bytes], places: list[int], cuts: list[int]
    ) -> None:
        """Whatever stands in it, and however it is cut; what stands around it is shown."""
        secret = SECRETS[name]
        pieces = cut(secret, places)
        colours = (colours + [b""] * len(pieces))[: len(pieces)]
        cut_up = b"".join(piece + colour for piece, colour in zip(pieces, colours, strict=True))
        before = b"\xc3\xbc one " + BEFORE.get(name, b"")
        out = _plain(shown(before + cut_up + b" two\n", cuts))
        self.assertEqual(out, before + b"*** two\n")

    @given(streams(*COLOURS, *MOVES, *ODD), CUTS)
    def test_nothing_is_lost_without_rules(self, stream: bytes, cuts: list[int]) -> None:
        """What is not searched passes at once."""
        self.assertEqual(shown(stream, cuts, Rules(())), stream)

    @given(st.binary(), CUTS)
    def test_bytes_without_secrets_pass(self, stream: bytes, cuts: list[int]) -> None:
        """Byte for byte, whatever they are."""
        rules = Rules((of_literal("none", b"no such text in this stream"),))
        self.assertEqual(shown(stream, cuts, rules), stream)

    @given(streams(*COLOURS, *MOVES, *ODD, b"\x08"), CUTS, st.integers(0, 3))
    def test_silence_loses_nothing(self, stream: bytes, cuts: list[int], every: int) -> None:
        """What is let go between pieces is not shown twice, and nothing stays for ever."""
        mask, out = StreamMask(Rules((of_literal("x", b"TICKET-00417"),))), b""
        for number, place in enumerate(range(0, len(stream), 5)):
            out += mask.feed(stream[place : place + 5])
            if every and number % every == 0:
                for _ in range(2):
                    out += mask.let_go() if mask.wait is not None else b""
                self.assertIsNone(mask.wait)
        out += mask.rest()
        if mask.masked == 0:
            self.assertEqual(out, stream)


def _plain(stream: bytes) -> bytes:
    for colour in COLOURS:
        stream = stream.replace(colour, b"")
    return stream


class ExampleTests(SynchronousTestCase):
    """What programs print."""

    def test_one_of_each(self) -> None:
        """All that has a detector of streams, and texts that look alike."""
        cases = {
            b"key AKIAIOSFODNN7EXAMPLE.": b"key ***.",
            b"xAKIAIOSFODNN7EXAMPLE": b"xAKIAIOSFODNN7EXAMPLE",
            b"Bearer " + JWT + b"\n": b"Bearer ***\n",
            b"eyJ is no token": b"eyJ is no token",
            KEY + b"\nnext@x": b"***\nnext@x",
            b"password: hunter2\n": b"password: ***\n",
            b"Password: \r\n": b"Password: \r\n",
            b"PWD=/srv/alice\n": b"PWD=/srv/alice\n",
            b'{"password": "a b"}': b'{"password": "***"}',
            b"Server=x;Pwd=abc;": b"Server=x;Pwd=***;",
            b"postgres://u:pw@h/x": b"postgres://u:***@h/x",
            b"http://host:80/@": b"http://host:80/@",
            b"000-12-3456 123-45-6789": b"000-12-3456 ***",
            b"id 4111111111111112 4111111111111111": b"id 4111111111111112 ***",
            b"3782 822463 10005": b"***",
            b"root@localhost": b"root@localhost",
            b"j\xc3\xbcrgen@b\xc3\xbccher.example!": b"***!",
            b"https://hooks.slack.com/services/T0/B0/abcdefghijkl12": b"https://***",
        }
        for stream, expected in cases.items():
            self.assertEqual(singly(stream), expected, stream)
            self.assertEqual(shown(stream), expected, stream)

    def test_a_key_that_breaks_off(self) -> None:
        """Is masked as far as it goes, and what follows it is shown."""
        begun = b"-----BEGIN OPENSSH PRIVATE KEY-----\r\nb3BlbnNzaC1rZXk\r\n"
        self.assertEqual(singly(begun + b"alice@web:~$ "), b"***@web:~$ ")
        numbered = b"1:-----BEGIN PRIVATE KEY-----\n2:MIIE\n3:-----END PRIVATE KEY-----\n4:x\n"
        self.assertEqual(singly(numbered), b"1:***\n4:x\n")

    def test_colours_in_it_are_kept(self) -> None:
        """The terminal is left as it would have been."""
        stream = b"\x1b[1mAKIA\x1b[31mIOSFODNN7\x1b[0mEXAMPLE\x1b[0m ok"
        self.assertEqual(singly(stream), b"\x1b[1m***\x1b[31m\x1b[0m\x1b[0m ok")

    def test_titles_and_links_are_searched(self) -> None:
        """They are texts of their own, and one in a secret goes with it."""
        stream = b"\x1b]0;alice@example.com: ~\x07$ \x1b]8;;https://u:pw@h/\x1b\\x\x1b]8;;\x1b\\"
        expected = b"\x1b]0;***: ~\x07$ \x1b]8;;https://u:***@h/\x1b\\x\x1b]8;;\x1b\\"
        self.assertEqual(singly(stream), expected)
        inside = b"AKIAIOSF\x1b]0;AKIAIOSFODNN7EXAMPLE\x07ODNN7EXAMPLE "
        self.assertEqual(singly(inside), b"*** ")
        self.assertEqual(singly(b"\x1b]0;password=hunter2"), b"\x1b]0;password=***")

    def test_kinds(self) -> None:
        """Each shows what it shows of a value; where two find the same, the stronger one counts."""
        key = b"k" * 32
        rules = Rules(
            (detected("card", "last4"), detected("email", "email"), detected("aws_key", "hash")),
            key,
        )
        stream = b"4111111111111111 alice@example.com AKIAIOSFODNN7EXAMPLE\n"
        token = token_text(key, b"AKIAIOSFODNN7EXAMPLE").encode()
        self.assertEqual(singly(stream, rules), b"****1111 ***@example.com " + token + b"\n")
        both = Rules((of_pattern("a", "ab{1,9}", "last4"), of_pattern("b", "b{1,9}c", "redact")))
        self.assertEqual(singly(b"xabbbcx", both), b"x***x")

    def test_a_line_that_is_wrapped(self) -> None:
        """A line end exactly where the terminal's line is full is none."""
        stream = b"x" * 12 + b" AKIAIOS\r\nFODNN7EXAMPLE ok"
        wide = StreamMask(RULES, 20)
        self.assertEqual(wide.feed(stream) + wide.rest(), b"x" * 12 + b" *** ok")
        self.assertNotIn(b"FODNN7", singly(stream, columns=20))
        self.assertEqual(singly(stream, columns=21), stream)
        self.assertEqual(singly(stream, columns=0), stream)

    def test_counts(self) -> None:
        """Each secret counts once, however it comes."""
        mask = StreamMask(RULES)
        for byte in b"4111111111111111 bob@example.com eve@example.com ":
            mask.feed(bytes([byte]))
        self.assertEqual(mask.counts, {"card": 1, "email": 2})
        self.assertEqual(mask.masked, 3)


class SilenceTests(SynchronousTestCase):
    """What is kept back, and for how long."""

    def feed(self, *pieces: bytes) -> StreamMask:
        """Return a mask that was given pieces."""
        mask = StreamMask(RULES)
        self.out = b"".join(mask.feed(piece) for piece in pieces)
        return mask

    def test_nothing_is_kept_of_a_prompt(self) -> None:
        """Also if what is asked for is a secret."""
        for prompt in (b"alice@web1:~$ ", b"password: ", b"[sudo] password for alice: ", b"> "):
            mask = self.feed(prompt)
            self.assertEqual(self.out, prompt)
            self.assertIsNone(mask.wait)

    def test_a_part_of_a_fixed_text_is_shown_after_a_moment(self) -> None:
        """And if it becomes a secret after all, the rest of that is masked."""
        mask = self.feed(b"see AKI")
        self.assertEqual((self.out, mask.wait), (b"see ", QUIET))
        self.assertEqual(mask.let_go(), b"AKI")
        self.assertIsNone(mask.wait)
        self.assertEqual(mask.feed(b"AIOSFODNN7EXAMPLE "), b"*** ")

    def test_a_secret_that_may_go_on_is_masked_after_a_moment(self) -> None:
        """And what goes on of it is no second one."""
        mask = self.feed(b"alice@example.com")
        self.assertEqual((self.out, mask.wait), (b"", QUIET))
        self.assertEqual(mask.let_go(), b"***")
        self.assertEqual(mask.feed(b".uk"), b"")
        self.assertEqual(mask.let_go(), b"")
        self.assertEqual(mask.feed(b".org and"), b" ")
        self.assertEqual(mask.rest(), b"and")
        self.assertEqual(mask.masked, 1)

    def test_a_secret_that_has_begun_is_kept_longer(self) -> None:
        """Nobody should learn a part of it because its second part comes late."""
        mask = self.feed(b"AKIAIOSFODNN7")
        self.assertEqual(mask.let_go(), b"")
        self.assertEqual(mask.wait, PATIENCE)
        self.assertEqual(mask.feed(b"EXAMPLE\n"), b"***\n")
        mask = self.feed(b"AKIAIOSF")
        self.assertEqual(mask.let_go() + mask.let_go(), b"AKIAIOSF")
        self.assertIsNone(mask.wait)
        self.assertEqual(mask.feed(b"ODNN7EXAMPLE\n"), b"***\n")

    def test_an_escape_that_is_not_all_there(self) -> None:
        """It is shown after a moment; a title only if it has no secret."""
        mask = self.feed(b"a ", b"\x1b")
        self.assertEqual((self.out, mask.let_go()), (b"a ", b"\x1b"))
        self.assertEqual(mask.feed(b"[31mAKIA"), b"[31m")
        mask = self.feed(b"\x1b]0;bob@example.com" + b"x" * 40)
        self.assertEqual(mask.let_go(), b"")
        self.assertEqual(mask.let_go(), b"\x1b]0;***")

    def test_what_was_typed_is_not_delayed(self) -> None:
        """Letters come back at once; a secret is masked all the same."""
        mask = StreamMask(RULES)
        for byte in b"ls alice":
            mask.typed(bytes([byte]))
            self.assertEqual(mask.feed(bytes([byte])), bytes([byte]))
            self.assertIsNone(mask.wait)
        mask = StreamMask(RULES)
        mask.typed(b"echo AKIAIOSFODNN7EXAMPLE\r")
        self.assertEqual(mask.feed(b"echo AKIAIOSFODNN7EXAMPLE\r\n"), b"echo ***\r\n")

    def test_what_was_not_typed_is_no_echo(self) -> None:
        """What comes instead is kept as ever."""
        mask = StreamMask(RULES)
        mask.typed(b"x")
        self.assertEqual(mask.feed(b"alice"), b"")
        self.assertEqual(mask.feed(b"x"), b"")

    def test_what_is_kept_is_bounded(self) -> None:
        """However many colours stand in what might be a secret: all of it is masked then."""
        mask = StreamMask(RULES)
        out = mask.feed(b"AKIA")
        for _ in range(KEPT // 500):
            out += mask.feed(b"\x1b[0m" * 250)
        self.assertTrue(out.startswith(b"***\x1b[0m"))
        self.assertEqual(len(out) % 4, 3)
        for size in (1, 100, 20_000):
            for kept in (b"eyJ" + b"a" * size, KEY[:60] + b"A" * size):
                mask = StreamMask(RULES)
                self.assertLessEqual(size - len(mask.feed(kept)), 16 * 1024)


class CostTests(SynchronousTestCase):
    """No stream makes it slow."""

    def test_hostile_streams_take_no_longer_than_a_second(self) -> None:
        """Of 32 KiB each; most take milliseconds."""
        for piece in HOSTILE:
            stream = piece * (32 * 1024 // len(piece))
            begun = time.process_time()
            shown(stream, [16 * 1024])
            self.assertLess(time.process_time() - begun, 3, piece)

    def test_the_smallest_pieces_of_what_is_kept(self) -> None:
        """What is kept is not searched for each of them: else one command stops all sessions."""
        searched = 0

        def counting(raw: bytes, *others: Any, **named: Any) -> Reading:
            nonlocal searched
            searched += len(raw)
            return read(raw, *others, **named)

        self.patch(masks, "read", counting)
        for begin, piece in ((b"4111", b"\x1b[C"), (KEY[:32], b"A"), (b"eyJa.", b"a")):
            mask, shown_, searched = StreamMask(RULES, 80), b"", 0
            shown_ += mask.feed(begin)
            for _ in range(6_000):
                shown_ += mask.feed(piece)
            self.assertLess(searched, 600 * 6_000 * len(piece), begin)
            shown_ += mask.rest()
            self.assertEqual(shown_, shown(begin + piece * 6_000), begin)

    def test_standard_rules_have_fixed_texts(self) -> None:
        """What has none would be searched for at every place."""
        self.assertEqual(Rules(standard()).unanchored, ())
