"""A broker, as the processes that it serves reach it: over its unix socket, blocking.

Nothing secret comes over it but what is good once or for minutes: the keys stay with the broker.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from hoopgw.client.errors import BAD_REQUEST, UNREACHABLE, Refused
from hoopgw.client.messages import (
    LINE_LIMIT,
    answer_of,
    encode,
    standing_from_dict,
    terms_to_dict,
)
from hoopgw.client.signers import ChildTerms, Minted, Standing
from hoopgw.client.values import Target, Token

TIMEOUT: Final = 40.0
"""Seconds for one answer: the broker may have to ask the gateway."""


@define(eq=False)
class Conversation:
    """One connection to a broker; some of what it gives ends when this is closed."""

    _socket: socket.socket
    _rest: bytearray = field(factory=bytearray, init=False, repr=False)

    def ask(self, op: str, **values: Any) -> dict[str, Any]:
        """Send one request and return its answer.

        Raises:
            Refused: the broker refuses, or does not answer.

        """
        try:
            self._socket.sendall(encode({"op": op, **values}))
            return answer_of(self._line())
        except OSError as error:
            raise Refused(UNREACHABLE, f"the broker does not answer: {error}") from error

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def _line(self) -> bytes:
        while b"\n" not in self._rest:
            if len(self._rest) > LINE_LIMIT:
                raise Refused(BAD_REQUEST, "the broker's answer is too long")
            piece = self._socket.recv(LINE_LIMIT)
            if not piece:
                raise ConnectionError("it closed the connection")
            self._rest += piece
        line, _, rest = self._rest.partition(b"\n")
        self._rest = bytearray(rest)
        return bytes(line)


@define(eq=False)
class BrokerLink:
    """A broker's socket."""

    path: Path

    def open(self) -> Conversation:
        """Connect. Raises `Refused` if nobody is there."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(TIMEOUT)
            connection.connect(str(self.path))
        except OSError as error:
            connection.close()
            raise Refused(
                UNREACHABLE,
                f"the broker at {self.path} does not answer: {error.strerror or error}",
                hint="it ends with the `hoopgw delegate` that has started it",
            ) from error
        return Conversation(connection)

    def ask(self, op: str, **values: Any) -> dict[str, Any]:
        """Send one request over a connection of its own."""
        with self._opened() as conversation:
            return conversation.ask(op, **values)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Conversation]:
        conversation = self.open()
        try:
            yield conversation
        finally:
            conversation.close()


@define(eq=False)
class BrokerSigner:
    """Speaks for a child whose key a broker holds."""

    link: BrokerLink

    def standing(self) -> Standing:
        """Ask who this is."""
        return standing_from_dict(self.link.ask("standing"))

    def targets(self) -> Sequence[Target]:
        """Ask what can be reached."""
        answer = self.link.ask("targets")
        try:
            return [Target.from_dict(target) for target in answer["targets"]]
        except (KeyError, TypeError, ValueError) as error:
            raise Refused(BAD_REQUEST, "the broker's targets cannot be read") from error

    def prove(self, audience: str) -> Token:
        """Ask for a proof."""
        answer = self.link.ask("prove", audience=audience)
        try:
            return Token(value=str(answer["token"]), expires=float(answer["expires"]))
        except (KeyError, TypeError, ValueError) as error:
            raise Refused(BAD_REQUEST, "the broker's proof cannot be read") from error

    def mint(self, jwk: Mapping[str, Any], terms: ChildTerms) -> Minted:
        """Ask for a hop to a key of ours."""
        answer = self.link.ask("mint", jwk=dict(jwk), terms=terms_to_dict(terms))
        try:
            return Minted(
                chain=str(answer["chain"]),
                until=float(answer["until"]),
                standing=standing_from_dict(answer["standing"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Refused(BAD_REQUEST, "the broker's hop cannot be read") from error
