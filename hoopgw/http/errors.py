"""What can be wrong with a message, and the status that each fault yields.

The text of an error goes to the peer: it says what to do otherwise, and never repeats what was
sent, as that may hold a token.
"""

from __future__ import annotations

from typing import ClassVar

from hoopgw.errors import ProtocolViolationError, UnavailableError


class MessageError(ProtocolViolationError):
    """A message cannot be taken. The connection ends after ``status`` has been said."""

    status: ClassVar[int] = 400


class MalformedError(MessageError):
    """The bytes are no message, or one that two readers could read differently."""


class RequestTimeoutError(MessageError):
    """The peer took too long to send its request."""

    status = 408


class BodyTooLargeError(MessageError):
    """The body is longer than is allowed here."""

    status = 413


class TargetTooLongError(MessageError):
    """The first line is longer than is allowed here."""

    status = 414


class ExpectationError(MessageError):
    """The request expects what is not ``100-continue`` (RFC 9110, section 10.1.1)."""

    status = 417


class HeadTooLargeError(MessageError):
    """The header fields are too many or too long (RFC 6585, section 5)."""

    status = 431


class CodingError(MessageError):
    """The body is in a transfer coding other than ``chunked``."""

    status = 501


class VersionError(MessageError):
    """The version is neither HTTP/1.1 nor HTTP/1.0."""

    status = 505


class UpstreamError(UnavailableError):
    """The target's answer cannot be passed on; its connection is not used again."""

    status: ClassVar[int] = 502


class UpstreamMalformedError(UpstreamError):
    """The target's bytes are no answer, or one that two readers could read differently."""


class UpstreamLostError(UpstreamError):
    """The target's connection ended before the answer did."""


class UnansweredError(UpstreamLostError):
    """It ended before anything of an answer came: a request that changes nothing may be repeated.

    That happens when a target closes a connection that was idle while we use it again.
    """


class UpstreamBusyError(UpstreamError):
    """So many requests wait for the target already that no other one may."""

    status = 503


class UpstreamTimeoutError(UpstreamError):
    """The target took too long."""

    status = 504


class ClientGoneError(ProtocolViolationError):
    """The client's connection ended before its request, or the answer to it, did."""
