"""What stands in a channel between client and target: it sees all data, may change, hold, answer.

An `Inspector` is handed each piece of data and returns what is passed on, which is all that most
need. What else it may do is its `Passage`'s: send to either side what it was not just handed, keep
the client's input back, end the channel. Several stand behind one another as a `Stack`.

Nothing is unbounded as long as an inspector keeps its part: what it keeps of what it was handed is
bounded by itself, and when it cannot go on it says `Passage.hold`. From then on input waits in the
channel, up to its window, and the client is given no more of that.

Bulk data should be returned as the object that came: then nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, runtime_checkable

from attrs import define, field

from hoopgw_ssh.channels import Request

NOT_OPENED: Final = b"open-failure"
"""The name of the status of a channel that the other side did not open; its data say why."""


def said(text: str) -> bytes:
    """Return what is shown to a client on standard error, as a terminal wants its lines."""
    lines = text.replace("\r", "").rstrip("\n").replace("\n", "\r\n")
    return f"{lines}\r\n".encode()


class Passage(Protocol):
    """The channel, to an inspector: what it may do besides passing on, until `Inspector.ended`."""

    def to_client(
        self,
        data: bytes,
        code: int | None = None,
        left: Callable[[int], None] | None = None,
        owed: int | None = None,
    ) -> None:
        """Send output of one's own, ``code`` of extended data.

        ``left`` is told of bytes as they leave, in all ``owed``, as many as these are if that is
        not given: a client may ask much, and read nothing.
        """
        ...

    def to_target(self, data: bytes) -> None:
        """Send input of one's own, or what was held. It leaves before what is returned next."""
        ...

    def end_input(self) -> None:
        """Pass the end of input on, after `Inspector.input_ended` has put it off."""
        ...

    def hold(self) -> None:
        """Keep the client's input back, with all that comes behind; each hold has its release."""
        ...

    def release(self) -> None:
        """Let it go on: what waited may be handed over before this returns, so say it last."""
        ...

    def hold_output(self) -> None:
        """Give the target no more room: what it sends on is at most its window.

        Each hold has its release. What comes all the same is handed over as ever.
        """
        ...

    def release_output(self) -> None:
        """Give it its room back, if nobody else holds it."""
        ...

    def end(self, why: str) -> None:
        """End the channel as a refused command ends: the reason on standard error, status 77."""
        ...


@runtime_checkable
class Attentive(Protocol):
    """An `Inspector` that wants to know of the client's requests, too."""

    def requested(self, request: Request) -> None:
        """Take note of a request that was allowed, before it is passed on."""
        ...


class Inspector(Protocol):
    """Sees what goes through a channel.

    A method that raises `ProtocolViolationError` ends the connection; none raises anything else.
    """

    def attach(self, passage: Passage) -> None:
        """Take the way back into the channel; called once, before anything else."""
        ...

    def to_target(self, data: bytes) -> bytes:
        """Take input; return what is passed on: less, more, or nothing yet."""
        ...

    def input_ended(self) -> bytes | None:
        """Return what is kept back of the input: it has ended.

        None puts the end off; then `Passage.end_input` is to follow.
        """
        ...

    def to_client(self, data: bytes, code: int | None) -> bytes:
        """Take output, ``code`` of extended data; return what is passed on: less, or nothing yet.

        What is kept back comes with the next piece, or with `rest`.
        """
        ...

    def rest(self, code: int | None) -> bytes:
        """Return what is kept back of an output: the target has ended it."""
        ...

    def abandoned(self) -> None:
        """Take note that the client has closed: nothing that waits for a decision may go on."""
        ...

    def ended(self, status: Request | None) -> None:
        """Take note of the end: ``status`` is what the target said of it, if it did."""
        ...


@define(eq=False)
class Silence:
    """Lets nothing pass: stands in a session's channel until something is started. An `Inspector`.

    Some targets keep what comes before, and give it to what is started then, which nobody has seen.
    """

    def attach(self, passage: Passage) -> None:
        """Need nothing of it."""

    def to_target(self, data: bytes) -> bytes:
        """Drop it."""
        del data
        return b""

    def input_ended(self) -> bytes | None:
        """Keep nothing."""
        return b""

    def to_client(self, data: bytes, code: int | None) -> bytes:
        """Drop it."""
        del data, code
        return b""

    def rest(self, code: int | None) -> bytes:
        """Keep nothing."""
        del code
        return b""

    def abandoned(self) -> None:
        """Do nothing."""

    def ended(self, status: Request | None) -> None:
        """Do nothing."""


@define(eq=False)
class Stack:
    """Two inspectors, one behind the other. Implements `Inspector`.

    Input goes through ``outer`` first, output through ``inner``: what records stands outside, what
    masks inside of it, so that what is recorded is what the client was shown.
    """

    outer: Inspector
    """Next to the client."""
    inner: Inspector
    """Next to the target."""
    _passage: Passage = field(init=False, repr=False)

    def attach(self, passage: Passage) -> None:
        """Give each the other on one side."""
        self._passage = passage
        self.outer.attach(_ToInner(passage, self.inner))
        self.inner.attach(_ToOuter(passage, self.outer))

    def to_target(self, data: bytes) -> bytes:
        """Pass input through both."""
        data = self.outer.to_target(data)
        return self.inner.to_target(data) if data else data

    def input_ended(self) -> bytes | None:
        """End the input of both, or of none yet."""
        rest = self.outer.input_ended()
        if rest is None:
            return None
        if rest and (passed := self.inner.to_target(rest)):
            self._passage.to_target(passed)
        return self.inner.input_ended()

    def to_client(self, data: bytes, code: int | None) -> bytes:
        """Pass output through both."""
        data = self.inner.to_client(data, code)
        return self.outer.to_client(data, code) if data else data

    def rest(self, code: int | None) -> bytes:
        """Return what both keep back."""
        rest = self.inner.rest(code)
        if rest:
            rest = self.outer.to_client(rest, code)
        return rest + self.outer.rest(code)

    def requested(self, request: Request) -> None:
        """Tell those who want to know."""
        for each in (self.outer, self.inner):
            if isinstance(each, Attentive):
                each.requested(request)

    def abandoned(self) -> None:
        """Tell both."""
        self.outer.abandoned()
        self.inner.abandoned()

    def ended(self, status: Request | None) -> None:
        """Tell both: what is inside first, so that what it says of its end is still seen."""
        self.inner.ended(status)
        self.outer.ended(status)


@define(eq=False)
class _ToInner:
    """The passage of the outer of two. Implements `Passage`."""

    passage: Passage
    inner: Inspector

    def to_client(
        self,
        data: bytes,
        code: int | None = None,
        left: Callable[[int], None] | None = None,
        owed: int | None = None,
    ) -> None:
        """Send output: nobody else stands there."""
        self.passage.to_client(data, code, left, owed)

    def to_target(self, data: bytes) -> None:
        """Send input through the inner one."""
        if passed := self.inner.to_target(data):
            self.passage.to_target(passed)

    def end_input(self) -> None:
        """End the inner one's input."""
        _end_input(self.inner, self.passage)

    def hold(self) -> None:
        """Keep input back."""
        self.passage.hold()

    def release(self) -> None:
        """Let it go on."""
        self.passage.release()

    def hold_output(self) -> None:
        """Give the target no more room."""
        self.passage.hold_output()

    def release_output(self) -> None:
        """Give it its room back."""
        self.passage.release_output()

    def end(self, why: str) -> None:
        """End the channel."""
        self.passage.end(why)


@define(eq=False)
class _ToOuter:
    """The passage of the inner of two. Implements `Passage`."""

    passage: Passage
    outer: Inspector

    def to_client(
        self,
        data: bytes,
        code: int | None = None,
        left: Callable[[int], None] | None = None,
        owed: int | None = None,
    ) -> None:
        """Send output through the outer one."""
        owed = len(data) if owed is None else owed
        if passed := self.outer.to_client(data, code):
            self.passage.to_client(passed, code, left, owed)
        elif left is not None and owed:
            left(owed)

    def to_target(self, data: bytes) -> None:
        """Send input: nobody else stands there."""
        self.passage.to_target(data)

    def end_input(self) -> None:
        """End it."""
        self.passage.end_input()

    def hold(self) -> None:
        """Keep input back."""
        self.passage.hold()

    def release(self) -> None:
        """Let it go on."""
        self.passage.release()

    def hold_output(self) -> None:
        """Give the target no more room."""
        self.passage.hold_output()

    def release_output(self) -> None:
        """Give it its room back."""
        self.passage.release_output()

    def end(self, why: str) -> None:
        """End the channel."""
        self.passage.end(why)


def _end_input(inner: Inspector, passage: Passage) -> None:
    """End the input of an inspector, and of the channel if it does not put that off."""
    rest = inner.input_ended()
    if rest is None:
        return
    if rest:
        passage.to_target(rest)
    passage.end_input()
