"""``python -m benchmarks``: measure, show, and say what was missed."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import click
from rich.console import Console
from rich.progress import Progress

from benchmarks import (
    ansible,
    bulk,
    chains,
    contents,
    documents,
    grants,
    http,
    https,
    lateness,
    mask_rows,
    memory,
    recording,
    small_statements,
    ssh,
    streams,
)
from benchmarks.figures import Section, show
from benchmarks.upstream import NotInstalledError

Benchmark: TypeAlias = Callable[[Progress, int, float], list[Section]]

BENCHMARKS: Final[Mapping[str, Benchmark]] = {
    "small": small_statements.run,
    "bulk": bulk.run,
    "memory": memory.run,
    "recording": recording.run,
    "contents": contents.run,
    "lateness": lateness.run,
    "rows": mask_rows.run,
    "grants": grants.run,
    "chains": chains.run,
    "http": http.run,
    "https": https.run,
    "documents": documents.run,
    "streams": streams.run,
    "ssh": ssh.run,
    "ansible": ansible.run,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option(
    "--seconds", default=3.0, show_default=True, help="Of one sample, where it has a length."
)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(names: tuple[str, ...], rounds: int, seconds: float, file: Path | None) -> None:
    """Measure NAMES, or everything.

    They are small, bulk, memory, recording, contents, lateness, rows, grants, chains, http, https,
    documents, streams, ssh and ansible.
    """
    console = Console(width=None if sys.stdout.isatty() else 120)
    found: dict[str, list[Section]] = {}
    for name in names or BENCHMARKS:
        # Seldom redrawn: it would take time from what is measured.
        with Progress(console=console, refresh_per_second=1, transient=True) as progress:
            try:
                found[name] = BENCHMARKS[name](progress, rounds, seconds)
            except NotInstalledError as error:
                console.print(f"{name} was left out: {error}")
                continue
        for section in found[name]:
            show(console, section)
    if file is not None:
        file.write_text(json.dumps(_as_json(found), indent=2) + "\n")
    figures = [
        figure for sections in found.values() for each in sections for figure in each.figures
    ]
    missed = [figure.name for figure in figures if figure.reached is False]
    console.print(f"{len(missed)} targets missed{': ' if missed else ''}{'; '.join(missed)}")


def _as_json(found: Mapping[str, list[Section]]) -> dict[str, object]:
    return {
        "machine": {
            "processors": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "benchmarks": {
            name: [
                {
                    "name": section.name,
                    "method": section.method,
                    "figures": [figure.as_json() for figure in section.figures],
                }
                for section in sections
            ]
            for name, sections in found.items()
        },
    }


if __name__ == "__main__":
    main()
