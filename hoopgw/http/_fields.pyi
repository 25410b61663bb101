from collections.abc import Collection

from hoopgw.http.messages import Pair

def left_out(
    pairs: tuple[Pair, ...], keys: tuple[bytes, ...], names: Collection[bytes]
) -> tuple[tuple[Pair, ...], tuple[bytes, ...]]: ...
def by_key(pairs: tuple[Pair, ...], keys: tuple[bytes, ...]) -> dict[bytes, tuple[bytes, ...]]: ...
