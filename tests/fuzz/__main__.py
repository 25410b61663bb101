"""Run one fuzz target under atheris, which is no dependency: ``python -m tests.fuzz NAME``."""

from __future__ import annotations

import importlib
import sys

from tests.support.processes import ROOTS


def main() -> None:
    """Import the target with instrumentation, and let atheris drive it until something breaks."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name.startswith("-"):
        raise SystemExit("usage: python -m tests.fuzz NAME [libFuzzer's arguments]")
    sys.path[:0] = [str(root) for root in ROOTS]
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["hoopgw", "hoopgw_azure", "hoopgw_postgres"]):
        target = importlib.import_module(f"tests.fuzz.fuzz_{name}")
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target.fuzz)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
