"""What of a channel's output is masked, and for whom."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ConfigError
from hoopgw.masking import token_text
from hoopgw.recording.content_frames import FrameKind
from hoopgw.streams.masks import PATIENCE, QUIET
from hoopgw_ssh.channels import STDERR
from hoopgw_ssh.masking import DETECTED, sought
from hoopgw_ssh.settings import check_target
from hoopgw_ssh.wire import string
from tests.ssh.ends import Taker
from tests.ssh.judge_case import ALL, JudgeCase
from tests.ssh.test_settings import WEB1

NO_SIGHT = '@id("all") permit (principal, action, resource) unless {action == Ssh::Action::"see"};'
CARD, KEY = b"4111111111111111", b"AKIAIOSFODNN7EXAMPLE"


class MaskingCase(JudgeCase):
    """A command whose output is masked."""

    def setUp(self) -> None:
        super().setUp()
        self.rules(NO_SIGHT)

    def shown(self, command: bytes, *pieces: bytes, code: int | None = None) -> bytes:
        """Return what a client is shown of a command's output."""
        _, taker = self.exec(command)
        self.put(*pieces, code=code)
        self.far[0].eof()
        self.run_all()
        return self.seen(taker, code)

    def put(self, *pieces: bytes, code: int | None = None) -> None:
        """Let the target put something out."""
        for piece in pieces:
            if code is None:
                self.far[0].write(piece)
            else:
                self.far[0].write_extended(code, piece)
            self.run_all()

    def seen(self, taker: Taker, code: int | None = None) -> bytes:
        """Return what a client was shown until now."""
        return taker.text if code is None else self.told(taker).encode()


class OutputTests(MaskingCase):
    """What is shown of an output."""

    def test_masked_in_any_pieces(self) -> None:
        """On both streams; and it is recorded as it was shown."""
        for code in (None, STDERR):
            text = b"card " + CARD + b" key " + KEY + b"\n"
            pieces = [text[at : at + 1] for at in range(len(text))]
            self.assertEqual(self.shown(b"report", *pieces, code=code), b"card *** key ***\n")
        recorded = [content.of(FrameKind.OUTPUT) for content in self.contents.opened]
        self.assertEqual(recorded, [b"card *** key ***\n", b""])

    def test_counted(self) -> None:
        """The result says how many."""
        channel, _ = self.exec(b"report")
        self.put(CARD + b" " + KEY + b"\n")
        self.far[0].request(b"exit-status", bytes(4), None)
        self.far[0].close()
        channel.close()
        self.run_all()
        self.assertEqual([result.masked for result in self.results()], [2])

    def test_shown_to_who_may_see(self) -> None:
        """By label, and by the command whose output it is."""
        self.rules(
            NO_SIGHT
            + '@id("cards") permit (principal, action == Ssh::Action::"see", resource)'
            + ' when {resource.labels.contains("pii.card")};'
            + '@id("vault") permit (principal, action == Ssh::Action::"see",'
            + ' resource in Ssh::Command::"vault read");'
        )
        text = CARD + b" " + KEY + b" "
        self.assertEqual(self.shown(b"report", text), CARD + b" *** ")
        self.assertEqual(self.shown(b"vault read aws/x", text), text)
        self.assertEqual(self.shown(b"vault list", text), CARD + b" *** ")

    def test_masks_of_policy(self) -> None:
        """Shown as the policy says."""
        self.rules(
            NO_SIGHT
            + '@id("see") permit (principal, action == Ssh::Action::"see", resource);'
            + '@id("m1") @mask("last4") forbid (principal, action == Ssh::Action::"see",'
            + ' resource == Ssh::Pattern::"card");'
            + '@id("m2") @mask("hash") forbid (principal, action == Ssh::Action::"see",'
            + ' resource == Ssh::Pattern::"aws_key");'
        )
        token = token_text(b"k" * 32, KEY).encode()
        self.assertEqual(self.shown(b"x", CARD + b" " + KEY + b" "), b"****1111 " + token + b" ")

    def test_nothing_stands_there_if_all_is_shown(self) -> None:
        """Then bytes go on as they came."""
        self.rules(ALL)
        self.assertEqual(self.shown(b"report", CARD[:4], CARD[4:]), CARD)

    def test_what_policy_says_later(self) -> None:
        """Holds for what comes later: more is masked, or less; what was kept back is not lost."""
        channel, taker = self.exec(b"report")
        self.put(KEY + b" AKIAIOSF")
        self.assertEqual(taker.text, b"*** ")
        self.rules(ALL)
        self.policy.epoch = "v2"
        self.put(KEY + b" ")
        self.assertEqual(taker.text, b"*** AKIAIOSF" + KEY + b" ")
        self.rules(NO_SIGHT)
        self.policy.epoch = "v3"
        self.put(KEY + b"\n")
        self.assertEqual(taker.text, b"*** AKIAIOSF" + KEY + b" ***\n")
        self.far[0].close()
        channel.close()
        self.run_all()
        self.assertEqual([result.masked for result in self.results()], [2])

    def test_what_only_looks_like_a_transfer(self) -> None:
        """Is an output as any other."""
        for command in (b"scp -f x; cat y", b"cat scp -f"):
            self.assertEqual(self.shown(command, KEY), b"***", command)

    def test_a_subsystem_is_left_as_it_is(self) -> None:
        """It is no text."""
        _, taker = self.start(b"subsystem", string(b"netconf"))
        self.put(KEY)
        self.assertEqual(taker.text, KEY)


class SilenceTests(MaskingCase):
    """What is kept back, and what silence lets go."""

    def test_let_go(self) -> None:
        """After a moment what may be nothing; after a second what has begun."""
        _, taker = self.start(b"shell", b"", self.pty())
        self.put(b"$ AK")
        self.assertEqual(taker.text, b"$ ")
        self.clock.advance(QUIET)
        self.run_all()
        self.assertEqual(taker.text, b"$ AK")
        self.put(b" AKIAIOSF")
        self.clock.advance(QUIET)
        self.clock.advance(PATIENCE)
        self.run_all()
        self.assertEqual(taker.text, b"$ AK AKIAIOSF")

    def test_typing_comes_back_at_once(self) -> None:
        """And no timer is left for it."""
        channel, taker = self.start(b"shell", b"", self.pty())
        for key in (b"A", b"K", b"I"):
            channel.write(key)
            self.run_all()
            self.put(key)
        self.assertEqual(taker.text, b"AKI")

    def test_the_end_lets_go(self) -> None:
        """Of everything, and of the timers."""
        timers = len(self.clock.getDelayedCalls())
        channel, taker = self.exec(b"report")
        self.put(b"see AKIAIOSF")
        self.far[0].eof()
        self.run_all()
        self.assertEqual(taker.text, b"see AKIAIOSF")
        self.exec(b"report")
        self.put(b"see AKIAIOSF")
        self.far[0].close()
        channel.close()
        self.run_all()
        self.assertLessEqual(len(self.clock.getDelayedCalls()), timers)

    def test_a_terminal_that_grows(self) -> None:
        """What a program has wrapped at the margin is one line."""
        channel, taker = self.start(b"shell", b"", self.pty(columns=80))
        size = b"".join(each.to_bytes(4, "big") for each in (12, 24, 0, 0))
        channel.request(b"window-change", size, None)
        self.run_all()
        self.put(b"k AKIAIOSFOD\r\nNN7EXAMPLE ok\r\n")
        self.assertEqual(taker.text, b"k *** ok\r\n")


class FileTests(MaskingCase):
    """Commands that name files with labels."""

    labels = {"/etc/shadow": ("secret.hash",), "~/.ssh": ("secret.key",)}  # noqa: RUF012
    options = {"detect": []}  # noqa: RUF012  # nothing but these

    def test_nothing_of_them_is_shown(self) -> None:
        """However they are named, as far as the text tells; also on standard error."""
        for command in (
            b"cat /etc/shadow",
            b"sudo -n cat /etc/./shadow",
            b"base64 < /etc/shadow",
            b"dd if=/etc/shadow",
            b"cat /etc/sha*",
            b"sh -c 'cat //etc/shadow'",
            b"tar c ~/.ssh/id_ed25519",
            b"if then /etc/shadow",
        ):
            for code in (None, STDERR):
                shown = self.shown(command, b"root:$6$x:1", b"more", code=code)
                self.assertIn(b"which you may not see in clear", shown, command)
                self.assertNotIn(b"root", shown)
                self.assertNotIn(b"more", shown)

    def test_others_are_shown(self) -> None:
        """What names none, and all to who may see it."""
        self.assertEqual(self.shown(b"cat /etc/passwd", b"root:x:0"), b"root:x:0")
        self.rules(
            NO_SIGHT
            + '@id("see") permit (principal, action == Ssh::Action::"see", resource is Ssh::Path)'
            + ' when {resource.labels.contains("secret.hash")};'
        )
        self.assertEqual(self.shown(b"cat /etc/shadow", b"root:$6$x:1"), b"root:$6$x:1")
        self.assertNotIn(b"-----", self.shown(b"cat ~/.ssh/id_rsa", b"-----BEGIN"))


class SettingsTests(SynchronousTestCase):
    """What the configuration may say."""

    def check(self, **options: Any) -> None:
        """Check a target's options."""
        check_target(evolve(WEB1, options=options))

    def test_what_is_looked_for(self) -> None:
        """By itself what cannot be found in a binary by chance; or what the target says."""
        self.assertEqual(tuple(each.name for each in sought(WEB1)), DETECTED)
        self.assertNotIn("email", DETECTED)
        given = {
            "detect": ["email"],
            "patterns": {
                "ticket": {"pattern": "T-[0-9]{4}", "labels": ["internal.ticket"]},
                "project": {"text": "Blue Heron"},
            },
        }
        self.check(**given)
        found = {each.name: each.labels for each in sought(evolve(WEB1, options=given))}
        expected: dict[str, set[str]] = {
            "email": {"pii", "pii.email"},
            "ticket": {"internal.ticket"},
            "project": set(),
        }
        self.assertEqual(found, expected)

    def test_wrong(self) -> None:
        """Each says which, and what is expected."""
        wrong: tuple[tuple[dict[str, Any], str], ...] = (
            ({"detect": "card"}, "targets.web1.detect: expected a list"),
            ({"detect": ["cards"]}, "targets.web1.detect: detector 'cards' is none of aws_key"),
            ({"patterns": []}, "targets.web1.patterns: expected a table of tables"),
            ({"patterns": {"card": {"text": "x"}}}, "is the name of a detector"),
            (
                {"patterns": {"x": {"text": "x", "y": 1}}},
                "targets.web1.patterns.x: expected a table",
            ),
            ({"patterns": {"x": {}}}, "expected either a pattern or a text"),
            ({"patterns": {"x": {"text": "x", "labels": "y"}}}, "labels: expected a list"),
            ({"patterns": {"x": {"pattern": "a+"}}}, "repeats without an end"),
            ({"patterns": {"x": {"pattern": "(a{1,9}){1,9}b"}}}, "too many ways"),
            ({"patterns": {f"x{n}": {"text": "x"} for n in range(200)}}, "200 is most"),
        )
        for options, said in wrong:
            with self.assertRaises(ConfigError) as caught:
                self.check(**options)
            self.assertIn(said, str(caught.exception))

    def test_labels_are_of_paths(self) -> None:
        """As they are compared."""
        check_target(evolve(WEB1, labels={"/etc/shadow": ("a",), "~/.ssh": ("b",), "/": ("c",)}))
        for path in ("etc/shadow", "/etc/", "/etc/../x", "//etc", "public.t.c"):
            with self.assertRaises(ConfigError):
                check_target(evolve(WEB1, labels={path: ("a",)}))
