"""Classified files: who may not see one in clear does not get it by moving it, either.

What a command shows of such a file is withheld (`hoopgw_ssh.masking`). A file that is moved is not
changed on its way, so it is moved or not. Names count, too: whoever renames a classified file, or
links to it, could read it by another name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hoopgw.policy.decision import Hidden
from hoopgw_ssh.files import PathUse
from hoopgw_ssh.operations import Place
from hoopgw_ssh.visit import Visit

_SHOWING: Final = frozenset({"read", "rename", "link"})
_WITH_ALL_BELOW: Final = frozenset({"rename", "link"})


def unseen(visit: Visit, place: Place, uses: Iterable[PathUse], *, is_deep: bool) -> list[str]:
    """Return the classified files that an operation would show, and policy would not.

    Args:
        visit: the connection.
        place: where it works.
        uses: what is done to which paths.
        is_deep: whether what is below a folder is read with it.

    """
    labelled = [
        path
        for path in visit.target.labels
        for use in uses
        for named in (use.path, use.written)
        if use.action in _SHOWING
        and (
            _is_in(named, path)
            or ((is_deep or use.action in _WITH_ALL_BELOW) and _is_in(path, named))
        )
    ]
    if not labelled:
        return []
    fields = [place.path(path) for path in dict.fromkeys(labelled)]
    sights = visit.context.policy.sights(visit.principal, fields, visit.session)
    return sorted(
        path
        for path, sight in sights.items()
        if isinstance(sight, Hidden) or sight.mask is not None
    )


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")
