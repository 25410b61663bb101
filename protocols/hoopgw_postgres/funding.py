"""What a session pays, if some hop of its chain was given a budget. Others have no `Purse`.

An operation is paid for before it is recorded and forwarded, what it answered afterwards. Rows
stop where the budget ends; bytes are counted when an answer is whole, and the next operation is
refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hoopgw.policy.decision import Deny, Review
from hoopgw.spi import Purse
from hoopgw_postgres import refusals
from hoopgw_postgres.flow import Flow, Running
from hoopgw_postgres.judge import Judged

_PLAIN: Final = ("operations",)
_HELD: Final = ("operations", "reviews")


def price(judged: Judged, flow: Flow) -> tuple[str, ...]:
    """Return of what one is used by an operation: people are asked outside transactions only.

    What is refused for good costs nothing.
    """
    if isinstance(judged.decision, Deny) and not judged.decision.uses:
        return ()
    held = isinstance(judged.decision, Review)
    return _HELD if held and not flow.in_transaction and not judged.copies_in else _PLAIN


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
