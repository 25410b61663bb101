"""What masking the output of commands costs, by each engine that is installed: no network.

``python -m benchmarks streams``, best pinned: ``taskset -c 1 python -m benchmarks streams``.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Final

from rich.progress import Progress

from benchmarks.figures import Figure, Section, at_least, at_most
from hoopgw.streams.mask_finding import Finder, HyperscanFinder, PlainFinder, compiled
from hoopgw.streams.mask_rules import Rules, standard
from hoopgw.streams.mask_views import part, quickest_parter
from hoopgw.streams.masks import StreamMask
from hoopgw.transport import accelerated

_SIZE: Final = 8 * 2**20
_PIECE: Final = 32 * 2**10
"""A packet of SSH."""
_KEYS: Final = 4000
_ECHO: Final = 0.3
"""Milliseconds by which an echo may be delayed."""
_SECRETS: Final = (
    b"user alice.b@example.com logged in",
    b"card 4111111111111111 taken",
    b"password=hunter2!",
    b"key AKIAIOSFODNN7EXAMPLE",
    b"ssn 123-45-6789",
)


def _log() -> bytes:
    """Return a web server's log."""
    rng = random.Random(1)
    return b"".join(
        b"2026-11-22T11:%02d:%02d.%03dZ web-1 nginx[%d]: 10.0.%d.%d "
        b"GET /api/v1/items/%d 200 %d 0.%03d\n"
        % tuple(rng.randrange(most) for most in (60, 60, 1000, 9999, 255, 255, 10**6, 10**5, 1000))
        for _ in range(5000)
    )


def _with_secrets(text: bytes, every: int) -> bytes:
    rng = random.Random(2)
    return b"".join(
        rng.choice(_SECRETS) + b"\n" + line if number % every == 0 else line
        for number, line in enumerate(text.splitlines(keepends=True))
    )


def _streams() -> Mapping[str, bytes]:
    log = _log()
    few = _with_secrets(log, 200)
    texts = {
        "a log, without secrets": log,
        "a secret every 200 lines": few,
        "a secret every 5 lines": _with_secrets(log, 5),
        "colours in each line": few.replace(b" GET ", b" \x1b[32mGET\x1b[0m "),
        "random bytes": random.Random(3).randbytes(2**20),
    }
    return {name: (text * (_SIZE // len(text) + 1))[:_SIZE] for name, text in texts.items()}


def _mask(rules: Rules, stream: bytes) -> float:
    """Mask a stream; return processor seconds."""
    mask, begin = StreamMask(rules), time.thread_time()
    for at in range(0, len(stream), _PIECE):
        mask.feed(stream[at : at + _PIECE])
    mask.rest()
    return time.thread_time() - begin


def _type(rules: Rules) -> tuple[float, float]:
    """Type at a prompt; return milliseconds from a key to its echo: median, and 99th in 100."""
    mask, times = StreamMask(rules, 80), list[float]()
    for number in range(_KEYS):
        key = b"abcdefghijklmnop"[number % 16 : number % 16 + 1]
        begin = time.perf_counter()
        mask.typed(key)
        assert mask.feed(key) == key
        times.append(time.perf_counter() - begin)
        if number % 30 == 29:
            mask.feed(b"\r\nls: no such file\r\nalice@web1:~$ ")
    times.sort()
    return times[_KEYS // 2] * 1e3, times[_KEYS * 99 // 100] * 1e3


_ENGINES: Final[tuple[tuple[str, Callable[[tuple[bytes, ...]], Finder], str, float], ...]] = (
    ("the standard library", PlainFinder, "", 20.0),
    ("compiled at install", compiled, "hoopgw.streams._anchors", 20.0),
    ("Hyperscan", HyperscanFinder, "hyperscan", 200.0),
)


def run(progress: Progress, rounds: int, seconds: float) -> list[Section]:
    """Measure; see `benchmarks.__main__`. ``seconds`` does not matter: streams have a size."""
    del seconds
    engines = [each for each in _ENGINES if not each[2] or accelerated.is_built(each[2])]
    streams = _streams()
    task = progress.add_task("streams", total=len(engines) * len(streams))
    sections = []
    for name, finder, _, wanted in engines:
        how = part if finder is PlainFinder else quickest_parter()
        rules = Rules(standard(), finder=finder, part=how)
        figures = []
        for number, (what, stream) in enumerate(streams.items()):
            rates = tuple(_SIZE / 1e6 / _mask(rules, stream) for _ in range(rounds))
            target = at_least(wanted) if number < 2 else None
            figures.append(Figure(name=what, samples=rates, unit="MB/s", target=target))
            progress.advance(task)
        echoes = [_type(rules) for _ in range(rounds)]
        median = tuple(each[0] for each in echoes)
        figures.append(
            Figure(name="echo, median", samples=median, unit="ms", target=at_most(_ECHO))
        )
        late = tuple(each[1] for each in echoes)
        figures.append(Figure(name="echo, 99th in 100", samples=late, unit="ms"))
        method = f"nine detectors, processor time, {_SIZE >> 20} MiB in {_PIECE >> 10} KiB pieces"
        sections.append(Section(name=f"Masking streams, {name}", method=method, figures=figures))
    return sections
