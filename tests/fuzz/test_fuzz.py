"""Every fuzz target, on inputs near its seeds and on any bytes."""

from __future__ import annotations

import importlib
import random
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("fuzz_*.py"))


def target(name: str) -> ModuleType:
    """Import a fuzz target."""
    return importlib.import_module(f"tests.fuzz.{name}")


def changed(seed: bytes, chance: random.Random) -> bytes:
    """Change a seed at a few places, as a fuzzer would."""
    data = bytearray(seed)
    for _ in range(chance.randint(0, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data[at:at] = chance.randbytes(chance.randint(1, 4))
            case 1:
                del data[at : at + chance.randint(1, 8)]
            case 2 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 3 if at < len(data):
                data[at] = chance.choice(b'\0\1\x7f\x80\xff"{}[]0.-=')
            case _:
                start = chance.randrange(len(data) + 1)
                data[at:at] = data[start : start + chance.randint(1, 16)]
    return bytes(data)


@pytest.mark.parametrize("name", NAMES)
def test_seeds(name: str) -> None:
    """The seeds themselves, and every beginning of them."""
    module = target(name)
    for seed in module.SEEDS:
        for end in range(len(seed) + 1) if len(seed) < 500 else (0, 1, len(seed)):
            module.fuzz(seed[:end])


@pytest.mark.parametrize("name", NAMES)
def test_near_the_seeds(name: str) -> None:
    """Inputs that get past the first checks."""
    module = target(name)

    @given(st.sampled_from(module.SEEDS), st.randoms(use_true_random=False))
    def near(seed: bytes, chance: random.Random) -> None:
        module.fuzz(changed(seed, chance))

    near()


@pytest.mark.parametrize("name", NAMES)
def test_any_bytes(name: str) -> None:
    """Inputs that mostly do not."""
    module = target(name)
    given(st.binary(max_size=400))(module.fuzz)()
