"""How many files a process may have open: each session takes two or more, each recording one.

Whoever logs in to a system gets 1024, which a hundred sessions with some channels each use up; then
nobody is let in. Programs that use ``select`` need that limit, and ours do not.
"""

from __future__ import annotations

import resource
from typing import Final

FILES: Final = 65_536
"""Open files of one process, if the system lets it; as the units of systemd say."""


def allow_many_files() -> None:
    """Raise this process's limit of open files, and that of processes that it starts later."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
