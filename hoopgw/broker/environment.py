"""What a command inherits of its environment: all but credentials and the ways to them. Pure.

The list is in hoopgw-delegate(1). Names, not values, decide: a secret under a name that nobody
knows passes, so who must be sure starts from nothing (``clean``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

PREFIXES: Final = (
    "HOOPGW_",
    "PG",
    "AZURE_",
    "ARM_",
    "AWS_",
    "MSI_",
    "IDENTITY_",
    "ACTIONS_ID_TOKEN_",
    "VAULT_",
    "SSH_AUTH_",
    "SSH_AGENT_",
    "GPG_AGENT_",
    "KRB5",
)
NAMES: Final = frozenset(
    {
        "DBUS_SESSION_BUS_ADDRESS",  # the keyring answers there
        "KUBECONFIG",
        "SYSTEM_ACCESSTOKEN",
        "CI_JOB_JWT",
        "CI_JOB_TOKEN",
        "GITHUB_TOKEN",
        "GH_TOKEN",
        "GITLAB_TOKEN",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_OAUTH_ACCESS_TOKEN",
        "DOCKER_AUTH_CONFIG",
        "XDG_RUNTIME_DIR",  # sockets of the parent's other helpers are there
        "NETRC",
        "SUDO_ASKPASS",
        "SSH_ASKPASS",
        "GIT_ASKPASS",
    }
)
PASSED: Final = frozenset({"PGTZ", "PGCLIENTENCODING", "PGDATESTYLE", "PGAPPNAME", "PGOPTIONS"})
"""Of PostgreSQL's, what says nothing about where or who."""
CLEAN: Final = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TERM", "TZ", "TMPDIR"}
)
"""What passes when starting from nothing, with ``LC_*``."""
_LOCALE: Final = re.compile("LC_[A-Z]+")


def scrubbed(
    given: Mapping[str, str], keep: Collection[str] = (), *, clean: bool = False
) -> dict[str, str]:
    """Return what a command may inherit.

    Args:
        given: the parent's environment.
        keep: names that pass all the same, ours (``HOOPGW_*``) excepted.
        clean: let only `CLEAN` and ``keep`` pass.

    """
    kept = {name for name in keep if not name.startswith("HOOPGW_")}
    return {
        name: value
        for name, value in given.items()
        if name in kept or (_is_clean(name) if clean else not is_withheld(name))
    }


def is_withheld(name: str) -> bool:
    """Whether a variable is a credential, or a way to one."""
    return name in NAMES or (name.startswith(PREFIXES) and name not in PASSED)


def withheld(given: Iterable[str]) -> list[str]:
    """Name the variables that `scrubbed` takes out."""
    return sorted(name for name in given if is_withheld(name))


def _is_clean(name: str) -> bool:
    return name in CLEAN or _LOCALE.fullmatch(name) is not None
