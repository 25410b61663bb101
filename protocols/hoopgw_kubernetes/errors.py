"""What goes wrong in reading requests to an API server."""

from __future__ import annotations

from hoopgw.errors import HoopgwError


class UnclearRequestError(HoopgwError):
    """A request could mean more than one thing, so it is none that is taken."""
