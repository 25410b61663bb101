"""What a session pays, if some hop of its chain was given a budget. Others have no `Purse`.

An operation is paid for before it is recorded and forwarded; what it answers, before that goes to
the client (`metering`).
"""

from __future__ import annotations

from hoopgw.policy.decision import Deny, Review
from hoopgw_postgres.flow import Flow
from hoopgw_postgres.judge import Judged


def price(judged: Judged, flow: Flow) -> tuple[str, ...]:
    """Return of what one is used by what would run: one operation for each statement in the text.

    What is refused for good costs nothing, and people are asked outside transactions only.
    """
    if isinstance(judged.decision, Deny) and not judged.decision.uses:
        return ()
    operations = ("operations",) * max(1, len(judged.facts.statements))
    held = isinstance(judged.decision, Review)
    if held and not flow.in_transaction and not judged.copies_in:
        return (*operations, "reviews")
    return operations
