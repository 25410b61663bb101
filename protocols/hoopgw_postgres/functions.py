"""Which functions do nothing but compute, as far as their names say. Pure."""

from __future__ import annotations

from importlib import resources
from typing import Final


def _listed() -> frozenset[str]:
    text = resources.files(__package__).joinpath("functions.txt").read_text("ascii")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


FUNCTIONS: Final = _listed()
"""Names of functions of ``pg_catalog`` that show and change nothing but their arguments, or at most
a sequence or an advisory lock."""


def called_action(schema: str, name: str) -> str | None:
    """Return the action that a call is besides reading; None if it only computes.

    A function that is not listed may do anything that its owner can. One of somebody's own with a
    listed name is not told apart: the name alone does not say which is called.
    """
    if schema == "information_schema" and name.startswith("_pg_"):
        return None
    if schema not in ("", "pg_catalog"):
        return "call"
    if name == "pg_notify":
        return "notify"
    if name.startswith(("pg_advisory_", "pg_try_advisory_")):
        # To let go of one's own needs nothing: drivers' pools do so after each use of a connection.
        return None if name.startswith("pg_advisory_unlock") else "lock"
    if name == "nextval" or name not in FUNCTIONS:
        return "call"
    return None
