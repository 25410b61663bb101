"""Ids that a person types and that become a part of a URL's path."""

from __future__ import annotations

import re
from typing import Final

import click

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,127}")


def path_part(text: str) -> str:
    """Return an id, if it is one.

    Raises:
        click.UsageError: it is not.

    """
    if not _ID.fullmatch(text) or ".." in text:
        raise click.UsageError(f"{text[:80]!r} is no id; see the first column of the list")
    return text
