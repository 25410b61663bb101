"""Check a directory of policies, for people and for CI."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from hoopgw.errors import PolicyError
from hoopgw.masking import KINDS
from hoopgw.policy.lint import Finding
from hoopgw.policy.schema import Schema
from hoopgw.policy.sets import examine
from hoopgw.policy.text import read_directory


def check(
    directory: Path, schemas: Mapping[str, str], kinds: Collection[str] = KINDS
) -> tuple[Finding, ...]:
    """Return all that is wrong or doubtful with the policies of a directory.

    No finding of level ``error`` means that a gateway with these protocols would take them.

    Args:
        directory: of ``*.cedar`` files.
        schemas: a protocol's name to its Cedar schema.
        kinds: the masks that ``@mask`` may name.

    """
    try:
        return examine(read_directory(directory), Schema.load(schemas), kinds)[1]
    except PolicyError as error:
        return (Finding(level="error", file=str(directory), line=1, text=str(error)),)
