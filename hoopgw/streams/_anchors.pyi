CODES: int

class Anchors:
    anchors: tuple[bytes, ...]

    def __init__(self, anchors: tuple[bytes, ...]) -> None: ...
    def find(self, text: bytes) -> list[tuple[int, int]]: ...
