"""Settings that a server reports by itself (ParameterStatus), and what becomes of them here."""

from __future__ import annotations

from typing import Final

SHOWN_PARAMETERS: Final = frozenset(
    {
        "DateStyle",
        "IntervalStyle",
        "TimeZone",
        "application_name",
        "client_encoding",
        "default_transaction_read_only",
        "in_hot_standby",
        "integer_datetimes",
        "is_superuser",
        "scram_iterations",
        "search_path",
        "server_encoding",
        "server_version",
        "session_authorization",
        "standard_conforming_strings",
    }
)
"""ParameterStatus names that are passed on: all that PostgreSQL 18 reports."""
PINNED: Final = {"client_encoding": "UTF8", "standard_conforming_strings": "on"}
"""Settings that change what bytes mean: a session in which they differ ends."""
