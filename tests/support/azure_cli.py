"""The real `az`, as `hoopgw.demo.azure_cli` keeps it, in an environment of a test's own."""

from __future__ import annotations

import os
from pathlib import Path

from hoopgw.demo.azure_cli import command, folder, is_there, wrapper

__all__ = ["command", "environment", "folder", "is_there", "wrapper"]


def environment(config: Path, **more: str) -> dict[str, str]:
    """Return the environment that it needs.

    Args:
        config: its own folder: log-ins, clouds, settings.
        more: variables.

    """
    return {
        "PATH": os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
        "HOME": str(config),
        "PYTHONPATH": str(folder()),
        "AZURE_CONFIG_DIR": str(config),
        "AZURE_CORE_COLLECT_TELEMETRY": "false",
        "AZURE_CORE_NO_COLOR": "true",
        "AZURE_EXTENSION_USE_DYNAMIC_INSTALL": "no",
        "AZURE_CORE_ONLY_SHOW_ERRORS": "true",
        **more,
    }
