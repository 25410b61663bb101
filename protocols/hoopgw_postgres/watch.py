"""Looking again at what is masked, while a session goes on.

What is masked is learnt when a session begins, and others may change the database afterwards: make
a view of a masked column or a partition, rename one, drop it and add it anew. So the catalogue is
asked again from time to time, between two of the client's transactions, before a statement is
judged; if the principal sees something else by now, the session can only be ended and begun anew.

A transaction that is open all that time is not interrupted. What changes while it is open is not
seen before its end.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from hoopgw.errors import LinkError, ProtocolViolationError, UnavailableError
from hoopgw_postgres import wire
from hoopgw_postgres.flow import Running, Step, Work
from hoopgw_postgres.judge import Judged
from hoopgw_postgres.masks import SessionMasks
from hoopgw_postgres.prelude import ANSWER_LIMIT, Row, row_values

PERIOD: Final = 30.0
"""Seconds after which the catalogue is asked again, if there is something to judge."""
PATIENCE: Final = 10.0
"""Seconds that the target may take to answer."""
_DATA_ROW: Final = ord("D")


class _Rows:
    """Takes the rows of one answer, in the place of a masker, and lets none of them pass."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._size = 0

    def mask_some(self, chunk: memoryview) -> tuple[bytes, int, int, int]:
        """Keep the whole DataRow messages at the start."""
        at, count = 0, 0
        while len(chunk) - at >= 5 and chunk[at] == _DATA_ROW:
            end = at + 1 + int.from_bytes(chunk[at + 1 : at + 5], "big")
            if end > len(chunk):
                break
            values = row_values(bytes(chunk[at + 5 : end]))
            if values is None:
                raise ProtocolViolationError("a malformed DataRow")
            self.rows.append(values)
            at, count = end, count + 1
        self._size += at
        if self._size > ANSWER_LIMIT:
            raise ProtocolViolationError("the target's catalogue is too large")
        return b"", count, 0, at


@define(eq=False)
class Watch:
    """Says when to look again, with which messages, and what came of it.

    Args:
        clock: for the period.
        masks: what the session goes by.

    """

    clock: IReactorTime
    masks: SessionMasks
    _asked: float = field(init=False)
    _answers: list[tuple[Running, _Rows]] = field(factory=list, init=False)
    _name: bytes = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._asked = self.clock.seconds()
        # Names that no statement of the client has.
        self._name = b"hoopgw_" + secrets.token_hex(8).encode()

    @property
    def is_due(self) -> bool:
        """Whether it is time."""
        return self.clock.seconds() - self._asked >= PERIOD

    def messages(self, nothing: Judged) -> Iterator[tuple[bytes, Work]]:
        """Yield what to send, with the work that it is: a whole segment.

        Args:
            nothing: the judgement on what is asked; it is never looked at.

        """
        self._answers = []
        for number, text in enumerate(self.masks.questions):
            name = b"%s_%d" % (self._name, number)
            taken = _Rows()
            running = Running(nothing, b"", 0, 0, None)
            running.own = running.looked = True
            running.masker = taken
            self._answers.append((running, taken))
            bound = wire.message(b"B", name + b"\0" + name + b"\0" + bytes(6))
            # An earlier look may have been broken off: closing what is not there is no error.
            yield wire.message(b"C", b"S" + name + b"\0"), _own(Step.CLOSE)
            yield wire.parse_message(name, text), _own(Step.PARSE)
            yield bound, _own(Step.BIND)
            yield wire.message(b"E", name + b"\0" + bytes(4)), _own(Step.EXECUTE, running)
            yield wire.message(b"C", b"S" + name + b"\0"), _own(Step.CLOSE)
        yield wire.message(b"S"), _own(Step.SYNC)

    def holds(self) -> bool:
        """Whether the session may go on by the masks that it has, once the target has answered.

        Raises:
            UnavailableError: it has not answered every question.

        """
        answers, self._answers = self._answers, []
        for running, _ in answers:
            if not running.outcome.startswith("SELECT"):
                raise UnavailableError(f"the target's catalogue was not read: {running.outcome}")
        self._asked = self.clock.seconds()
        try:
            return self.masks.hold([taken.rows for _, taken in answers])
        except LinkError:
            return False  # a classified column is gone


def _own(step: Step, running: Running | None = None) -> Work:
    work = Work(step, running)
    work.own = work.silent = True
    return work
