"""The one error of this package."""

from __future__ import annotations

from hoopgw.errors import HoopgwError


class UnclearRequestError(HoopgwError):
    """A request cannot be judged, so it is refused. The text is for the caller.

    The connection can go on: the request was well framed.
    """
