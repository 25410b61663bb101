"""What ends when somebody is found to be in a group no longer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define

from hoopgw.control.delegations import Delegations
from hoopgw.control.fleet import Fleet
from hoopgw.identity.caller_certificates import certificate_node
from hoopgw.store.rows import Store

REASON: Final = "a group that it was opened with was taken away: connect again"


@define(eq=False)
class Regrouping:
    """Ends it. The log-in itself goes on, with the groups that it has."""

    _store: Store
    _fleet: Fleet
    _delegations: Delegations
    _now: Callable[[], float]

    def regrouped(self, login: str, groups: frozenset[str]) -> None:
        """End what a log-in, or what descends from it, has opened with other groups than these.

        Session passwords and certificates go too, as they stand for the groups that were. A target
        token that is out already still opens sessions, which are cut as soon as they are announced
        (`hoopgw.control.calls`).
        """
        self._store.drop_passwords(login)
        for serial in self._store.certificates.of_login(login, self._now()):
            self._delegations.revoke(certificate_node(serial), REASON)
        for head in self._store.sessions():
            if head.principal.session == login and not head.principal.root.groups <= groups:
                self._fleet.tell_one(head.worker, "cut", {"session": head.id, "reason": REASON})
