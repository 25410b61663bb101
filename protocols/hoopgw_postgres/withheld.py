"""Errors and notices of transactions that touch masked columns: what of them a client may read.

Their texts can quote values: "Key (ssn)=(078-05-1120) already exists". Severity and SQLSTATE pass;
of the texts, only the first passes, where the SQLSTATE says that it holds names and no data.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hoopgw_postgres import wire

_NAMES_ONLY: Final = ("08", "0A", "25", "26", "34", "40", "42", "53", "55", "57")
"""Classes of SQLSTATE whose primary text holds names, but no data."""
_TEXT: Final = "hoopgw withholds this text: the transaction touches masked columns"


def withhold(kind: bytes, fields: Mapping[str, str]) -> bytes:
    """Return what stands for an ErrorResponse (``E``) or NoticeResponse (``N``)."""
    code = fields.get("C", "XX000")
    # Code in a function may have put anything in, under whatever SQLSTATE; the server's own
    # contexts are of locks, as "while updating tuple ..".
    by_code = any(not line.startswith("while ") for line in fields.get("W", "").splitlines())
    kept = code.startswith(_NAMES_ONLY) and not by_code
    return wire.report(kind, fields.get("S", "ERROR"), code, fields.get("M", "") if kept else _TEXT)
