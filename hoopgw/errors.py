"""The errors that hoopgw raises on purpose.

Three faults are kept apart: the peer's (`ProtocolViolationError`), the operator's
(`ConfigError`, `PluginError`, `PolicyError`), and ours to bear (`UnavailableError`: a part that a
decision needs is not there, so the operation is refused). A refusal by policy is no exception: it
is a `hoopgw.policy.Deny` value. The text of an error may be shown to whoever caused it, so it
never holds a secret or an internal address.
"""

from __future__ import annotations


class HoopgwError(Exception):
    """What all of these share. Not raised itself."""


class ProtocolViolationError(HoopgwError):
    """The peer broke its protocol; the connection cannot go on."""


class ConfigError(HoopgwError):
    """The configuration is wrong: the text names the file, the key and the fix."""


class PluginError(HoopgwError):
    """A configured protocol or plug-in is missing, doubled, or does not load."""


class PolicyError(HoopgwError):
    """A policy file does not parse, does not validate, or breaks a rule of ours."""


class AuthenticationError(HoopgwError):
    """The caller did not prove who it is. The text says why, for the log only."""


class UnavailableError(HoopgwError):
    """A part that is needed to decide, record or reach is not there: refuse."""


class RecorderError(UnavailableError):
    """The recorder cannot take a record: what it would describe must not happen."""


class LinkError(UnavailableError):
    """No agent serves the target, or it could not open it. The text is for the caller."""


class DocumentError(HoopgwError):
    """An answer cannot be masked, or is beyond a limit: break it off before it is whole.

    The text says what is wrong and where, by byte, and nothing of what is there.
    """


class DocumentLimitError(DocumentError):
    """An answer holds more than may be shown: more values, or more bytes."""


class TicketError(HoopgwError):
    """A ticket is not genuine, not for this agent, too old, or used before."""
