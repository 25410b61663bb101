"""A log of what some people did through PostgreSQL, made by the gateway's own session code."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from hoopgw.events import Principal
from hoopgw.policy.engine import CedarPolicy
from hoopgw.recording.index import SessionIndex
from hoopgw.recording.inputs import InputBook
from hoopgw.recording.records import AnyRecord, encode
from hoopgw_postgres import wire
from tests.postgres.conversation import Conversation
from tests.postgres.test_recorded import EXAMPLES
from tests.recording.samples import fill, opened


def say(
    session: str, principal: Principal, texts: Iterable[bytes], inputs: InputBook
) -> list[AnyRecord]:
    """Return the records of a session in which some statements were sent, by conf/policies."""
    policy = CedarPolicy(EXAMPLES, lambda: 1e9)
    talk = Conversation(policy=policy, principal=principal, inputs=inputs)
    talk.journal.session = session
    talk.journal.started()
    for text in texts:
        talk.say(wire.query(text))
        for review in talk.reviews.asked:
            if not review.settled.called:
                review.settle("denied")
        talk.answer(wire.ready(b"I"))
    talk.journal.ended("done")
    return [msgspec.structs.replace(record, session=session) for record in talk.recorder.records]  # type: ignore[misc]  # each is of AnyRecord


def write_log(directory: Path, records: Iterable[AnyRecord]) -> None:
    """Write a log as the recorder does."""
    log = opened(directory).writer
    for record in records:
        fill(log, [encode(record)])
    SessionIndex.open(directory, log.size).close()
    log.close()
