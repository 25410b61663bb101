"""Logging in with questions and answers, and a device code."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed

from hoopgw.errors import AuthenticationError, ProtocolViolationError, UnavailableError
from hoopgw.events import Principal
from hoopgw.identity.shown import DeviceWait
from hoopgw_ssh.device import ALL, METHOD, QUESTIONS_LIMIT, DeviceDialogue, prompt
from hoopgw_ssh.user_login import (
    ANSWER_LIMIT,
    INFO_REQUEST,
    INFO_RESPONSE,
    LOGIN_TIMEOUT,
    USERAUTH_BANNER,
    USERAUTH_FAILURE,
    USERAUTH_SUCCESS,
    UserLogin,
    read_answer,
)
from hoopgw_ssh.wire import Reader, string
from tests.ssh.test_user_login import ALICE, LoginCase

WAIT = DeviceWait(
    id="secret-id",
    url="https://idp.example/enter",
    code="ABCD-EFGH",
    url_with_code="https://idp.example/enter?code=ABCD-EFGH",
    lasts=300.0,
)
ENTER = (1).to_bytes(4, "big") + string(b"")


class Devices:
    """Implements `DeviceLogins`."""

    def __init__(self) -> None:
        self.begun: Deferred[DeviceWait] | None = None
        self.refused: Exception | None = None
        self.asked: list[tuple[str, str]] = []
        self.polls: list[Deferred[Principal | None]] = []
        self.dropped: list[str] = []

    def begin(self, issuer: str, address: str) -> Deferred[DeviceWait]:
        """Give a code."""
        self.asked.append((issuer, address))
        if self.refused is not None:
            return fail(self.refused)
        return self.begun or succeed(WAIT)

    def poll(self, id: str, address: str) -> Deferred[Principal | None]:  # noqa: A002
        """Wait for the test."""
        assert (id, address) == (WAIT.id, "192.0.2.7")
        self.polls.append(Deferred())
        return self.polls[-1]

    def drop(self, id: str) -> None:  # noqa: A002
        """Keep it."""
        self.dropped.append(id)


class DialogueCase(LoginCase):
    """One log-in, where device codes are offered."""

    def setUp(self) -> None:
        super().setUp()
        self.devices = Devices()
        self.login.serviceStopped()
        self.login = UserLogin(
            self.verify,
            "192.0.2.7",
            self.clock,
            self.admit,
            dialogue=DeviceDialogue(self.devices, "corp"),
        )
        self.login.transport = self.side
        self.side.service = self.login
        self.login.serviceStarted()

    def begin(self, user: bytes = b"deploy+web1") -> None:
        """Ask to be asked."""
        rest = string(b"") + string(b"")
        self.send(self.request(rest, user=user, method=b"keyboard-interactive"))

    def enter(self, answer: bytes = ENTER) -> None:
        """Answer."""
        self.login.packetReceived(INFO_RESPONSE, answer)

    def questions(self) -> list[str]:
        """Return what the client was asked."""
        found = []
        for number, payload in self.side.sent:
            if number == INFO_REQUEST:
                reader = Reader(payload)
                self.assertEqual([reader.string() for _ in range(3)], [b"", b"", b""])
                self.assertEqual(reader.uint32(), 1)
                found.append(reader.text())
                reader.boolean()
                reader.end()
        return found


class DeviceTests(DialogueCase):
    """With a device code."""

    def test_approved(self) -> None:
        """The question says it all; after Enter, whoever approved is let in."""
        self.begin()
        (asked,) = self.questions()
        for word in (WAIT.url, WAIT.code, WAIT.url_with_code):
            self.assertIn(word, asked)
        self.assertEqual(self.devices.asked, [("corp", "192.0.2.7")])
        self.assertEqual(self.devices.polls, [])
        self.enter()
        self.devices.polls[0].callback(ALICE)
        self.assertEqual(self.side.numbers, [INFO_REQUEST, USERAUTH_SUCCESS])
        (found,) = self.found
        self.assertEqual((found.principal, found.method, found.restrictions), (ALICE, METHOD, ALL))
        self.assertEqual((found.wanted.account, found.credential), ("deploy", ""))
        self.assertFalse(self.clock.getDelayedCalls())

    def test_offered(self) -> None:
        """Behind certificates, whenever something was refused."""
        self.send(self.request(method=b"none"))
        self.assertEqual(self.side.sent[0][1], string(b"publickey,keyboard-interactive") + b"\0")

    def test_too_early(self) -> None:
        """It is asked again, and not for ever."""
        self.begin()
        for number in range(QUESTIONS_LIMIT):
            self.enter()
            self.devices.polls[number].callback(None)
        self.assertEqual(len(self.questions()), QUESTIONS_LIMIT)
        self.assertIn("Not approved yet", self.questions()[1])
        self.assertEqual(self.side.numbers[-2:], [USERAUTH_BANNER, USERAUTH_FAILURE])
        self.assertEqual(self.devices.dropped, [WAIT.id])

    def test_refused(self) -> None:
        """At the issuer; the client is told, and may try something else."""
        self.begin()
        self.enter()
        self.devices.polls[0].errback(AuthenticationError("the log-in was refused at the issuer"))
        self.assertEqual(self.side.numbers[1:], [USERAUTH_BANNER, USERAUTH_FAILURE])
        self.assertIn(b"refused at the issuer", self.side.sent[1][1])
        self.send(self.signed())
        self.assertEqual(self.side.numbers[-1], USERAUTH_SUCCESS)

    def test_too_many_codes(self) -> None:
        """No code is given: that is a refusal; no control is an end."""
        self.devices.refused = AuthenticationError("too many device codes were asked for")
        self.begin()
        self.assertEqual(self.side.numbers, [USERAUTH_BANNER, USERAUTH_FAILURE])
        self.devices.refused = UnavailableError("the control process does not answer")
        self.begin()
        self.assertIn("does not answer", self.side.ended)

    def test_accounts_that_are_none(self) -> None:
        """Are not asked about: a certificate could not be for them either."""
        for user in (b"-oProxyCommand=x+web1", b"a b+web1", b"deploy"):
            self.setUp()
            self.begin(user)
            self.assertEqual((self.devices.asked, self.side.numbers[-1]), ([], USERAUTH_FAILURE))

    def test_the_deadline(self) -> None:
        """Is put off once, as a person needs a browser; the code's own end is an end."""
        self.begin()
        self.clock.advance(LOGIN_TIMEOUT + 10)
        self.assertEqual(self.side.ended, "")
        self.enter()
        self.clock.advance(WAIT.lasts)
        self.assertIn("in time", self.side.ended)
        self.assertEqual(self.devices.dropped, [WAIT.id])
        self.devices.polls[0].callback(ALICE)
        self.assertEqual(self.found, [])

    def test_the_deadline_is_put_off_once(self) -> None:
        """Whoever begins again and again does not stay."""
        for _ in range(3):
            self.begin()
            self.clock.advance(WAIT.lasts / 2 - 1)
        self.assertIn("in time", self.side.ended)

    def test_nothing_is_told(self) -> None:
        """Of codes, in what could be logged."""
        self.assertNotIn("ABCD", repr(WAIT))
        self.assertNotIn("secret", repr(WAIT))
        hostile = evolve(WAIT, code="\x1b[2JX", url_with_code="")
        self.assertNotIn("\x1b", prompt(hostile))
        self.assertNotIn("open )", prompt(hostile))


class AbandonedTests(DialogueCase):
    """A client that does not answer, but asks anew (RFC 4256, section 3.1)."""

    def test_while_it_is_asked(self) -> None:
        """There is no answer to what it has abandoned, and only one to what it asks."""
        self.begin()
        self.send(self.request(method=b"none"))
        self.assertEqual(self.side.numbers, [INFO_REQUEST, USERAUTH_FAILURE])
        self.assertEqual(self.devices.dropped, [WAIT.id])

    def test_another_dialogue(self) -> None:
        """Goes on as if there had been no other."""
        self.begin()
        self.begin()
        self.assertEqual(self.side.numbers, [INFO_REQUEST] * 2)
        self.enter()
        self.devices.polls[0].callback(ALICE)
        self.assertEqual(self.side.numbers[-1], USERAUTH_SUCCESS)
        self.assertEqual(len(self.found), 1)

    def test_while_the_issuer_is_asked(self) -> None:
        """Whoever approves afterwards lets nobody in."""
        self.begin()
        self.enter()
        self.send(self.request(method=b"none"))
        self.devices.polls[0].callback(ALICE)
        self.assertEqual(self.side.numbers, [INFO_REQUEST, USERAUTH_FAILURE])
        self.assertEqual(self.found, [])

    def test_while_the_code_is_got(self) -> None:
        """It is given up."""
        self.devices.begun = Deferred()
        self.begin()
        self.send(self.request(method=b"none"))
        self.assertEqual(self.side.numbers, [USERAUTH_FAILURE])

    def test_while_the_target_is_opened(self) -> None:
        """Somebody has logged in then: what is asked behind it waits, and counts no more."""
        self.opening = Deferred()
        self.begin()
        self.enter()
        self.devices.polls[0].callback(ALICE)
        self.send(self.request(method=b"none"))
        self.opening.callback(None)
        self.assertEqual(self.side.numbers, [INFO_REQUEST, USERAUTH_SUCCESS])

    def test_the_client_goes(self) -> None:
        """Nobody waits for the person any more."""
        self.begin()
        self.login.serviceStopped()
        self.assertEqual(self.devices.dropped, [WAIT.id])
        self.assertFalse(self.clock.getDelayedCalls())


class AnswerTests(DialogueCase):
    """What a client answers."""

    def test_nobody_asked(self) -> None:
        """That is against the protocol: before a question, and after its answer."""
        self.assertRaises(ProtocolViolationError, self.enter)
        self.begin()
        self.enter()
        self.assertRaises(ProtocolViolationError, self.enter)

    def test_what_is_no_answer(self) -> None:
        """To one question: none, two, too long a one, and more behind it."""
        for answer in (
            bytes(4),
            (2).to_bytes(4, "big") + string(b"") * 2,
            (1).to_bytes(4, "big") + string(b"x" * (ANSWER_LIMIT + 1)),
            ENTER + b"x",
            b"",
        ):
            self.setUp()
            self.begin()
            self.assertRaises(ProtocolViolationError, self.enter, answer)

    @given(st.binary(max_size=100))
    def test_garbage(self, payload: bytes) -> None:
        """Is an answer or a violation, and nothing else."""
        try:
            self.assertLessEqual(len(read_answer(payload)), ANSWER_LIMIT)
        except ProtocolViolationError:
            return
