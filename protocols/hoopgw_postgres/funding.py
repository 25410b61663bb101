"""What a session pays, if some hop of its chain was given a budget. Others have no `Purse`.

An operation is paid for before it is recorded and forwarded, what it answered afterwards. Rows
stop where the budget ends; bytes are counted when an answer is whole, and the next operation is
refused.
"""

from __future__ import annotations

from collections.abc import Callable

from hoopgw.policy.decision import Deny, Review
from hoopgw.spi import Purse
from hoopgw_postgres import refusals
from hoopgw_postgres.flow import Flow, Running
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


def charging(finished: Callable[[Running], None], purse: Purse | None) -> Callable[[Running], None]:
    """Return what is called with a whole answer, so that it is paid for."""
    if purse is None:
        return finished

    def charge(running: Running) -> None:
        finished(running)
        if not running.own:
            purse.used({"rows": running.rows, "bytes": running.sent})

    return charge


def bound(running: Running, purse: Purse) -> None:
    """Let rows end where the budget does."""
    if purse.room("rows") is not None:
        running.purse = purse


def rows_exceeded(running: Running) -> bytes:
    """Note that rows were not shown, and return the error: a budget ended them, or the policy."""
    purse = running.purse
    if purse is not None and (purse.room("rows") or 0) <= running.rows:
        running.outcome = "ERROR 53400"
        return refusals.used_up(purse.exhausted("rows"))
    running.outcome = "ERROR 54000"
    text = f"the policy shows at most {running.max_rows} rows of this statement"
    return refusals.error("54000", text, hint="Add a LIMIT.")
