"""The `hoopgw` command."""

from hoopgw.cli.program import main

__all__ = ["main"]
