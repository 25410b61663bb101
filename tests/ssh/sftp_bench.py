"""An `SftpInspector` between a client's bytes and a small target with links, both in memory."""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from hoopgw_ssh import sftp_wire as sftp
from hoopgw_ssh.files import FileOperation, FileResult, FileRuling
from hoopgw_ssh.sftp import SftpInspector
from hoopgw_ssh.sftp_packets import Bulk, PacketReader
from hoopgw_ssh.sftp_wire import Packet, Request
from hoopgw_ssh.wire import Reader, string


@define(eq=False)
class Deciding:
    """Decides as tests say: by the first path, or by whatever is in ``answers``."""

    refused: set[str] = field(factory=set)
    """``action path``."""
    held: dict[str, Deferred[FileRuling]] = field(factory=dict)
    operations: list[FileOperation] = field(factory=list)
    results: list[tuple[int, FileResult]] = field(factory=list)
    ends: list[Callable[[str], None] | None] = field(factory=list)
    """What ends each of them."""

    def file(
        self,
        operation: FileOperation,
        say: Callable[[str], None],
        end: Callable[[str], None] | None = None,
    ) -> Deferred[FileRuling]:
        """Decide."""
        self.ends.append(end)
        self.operations.append(operation)
        uses = [
            f"{use.action} {path}" for use in operation.uses for path in (use.path, use.written)
        ]
        if self.refused & set(uses):
            return succeed(FileRuling(allowed=False, reason=f"No {operation.text}."))
        held = next((self.held[use] for use in uses if use in self.held), None)
        if held is not None:
            say("Waiting for bob.")
            return held
        return succeed(self.yes())

    def yes(self) -> FileRuling:
        """Allow the last one."""
        return FileRuling(allowed=True, intent=len(self.operations))

    def finished(self, intent: int, result: FileResult) -> None:
        """Keep it."""
        assert intent not in [known for known, _ in self.results], "told twice"
        self.results.append((intent, result))

    @property
    def texts(self) -> list[str]:
        """What was asked for."""
        return [operation.text for operation in self.operations]

    @property
    def outcomes(self) -> list[str]:
        """How what was allowed came out."""
        return [result.outcome for _, result in self.results]


@define(eq=False)
class Ground:
    """What a passage does. Implements `hoopgw_ssh.inspector.Passage`."""

    up: bytearray = field(factory=bytearray)
    down: bytearray = field(factory=bytearray)
    stderr: bytearray = field(factory=bytearray)
    holds: int = 0
    output_holds: int = 0
    ends: list[str] = field(factory=list)
    input_ended: bool = False
    reads: bool = True
    """Whether the client takes what it is sent."""
    left: list[Callable[[], None]] = field(factory=list)
    released: Callable[[], None] = lambda: None

    def to_client(
        self,
        data: bytes,
        code: int | None = None,
        left: Callable[[int], None] | None = None,
        owed: int | None = None,
    ) -> None:
        """Take output."""
        (self.down if code is None else self.stderr).extend(data)
        if left is None:
            return
        count = len(data) if owed is None else owed
        if self.reads:
            left(count)
        else:
            self.left.append(lambda: left(count))

    def to_target(self, data: bytes) -> None:
        """Take input."""
        self.up += data

    def end_input(self) -> None:
        """Note it."""
        self.input_ended = True

    def hold(self) -> None:
        """Count it."""
        self.holds += 1

    def release(self) -> None:
        """Count it."""
        self.holds -= 1
        self.released()

    def hold_output(self) -> None:
        """Count it."""
        self.output_holds += 1

    def release_output(self) -> None:
        """Count it."""
        self.output_holds -= 1

    def end(self, why: str) -> None:
        """Note it."""
        self.ends.append(why)


@define(eq=False)
class Bench:
    """Both sides."""

    deciding: Deciding = field(factory=Deciding)
    ground: Ground = field(factory=Ground)
    links: dict[str, str] = field(factory=dict)
    home: str = "/srv/us"
    missing: set[str] = field(factory=set)
    """Paths that REALPATH does not know."""
    special: dict[int, Callable[[int], bytes]] = field(factory=dict)
    """Answers to kinds of requests that are not as usual."""
    answers: bool = True
    """Whether the target answers by itself."""
    resolves: bool = True
    """Whether it says where paths lead."""
    inspector: SftpInspector = field(init=False)
    seen: list[Packet | Bulk] = field(factory=list)
    """What reached the target, besides REALPATH."""
    asked: list[Packet] = field(factory=list)
    """REALPATH that reached it."""
    got: list[Packet | Bulk] = field(factory=list)
    """What reached the client."""
    content: bytearray = field(factory=bytearray)
    """Of what came."""
    _at_target: PacketReader = field(factory=lambda: PacketReader(sftp.WRITE))
    _at_client: PacketReader = field(factory=lambda: PacketReader(sftp.DATA))
    _handle: int = 0

    def __attrs_post_init__(self) -> None:
        self.inspector = SftpInspector(self.deciding)
        self.inspector.attach(self.ground)

    def begin(self) -> Bench:
        """Agree on a version."""
        self.client(sftp.init())
        self.seen.clear()
        self.got.clear()
        return self

    def ask(self, kind: int, number: int, *fields: sftp.Field, name: bytes = b"") -> None:
        """Send a request of the client's."""
        self.client(Request(kind, number, fields, name).encode())

    def open(self, number: int, path: bytes, flags: int = sftp.FOR_READING) -> bytes:
        """Open a file; return its handle."""
        self.ask(sftp.OPEN, number, path, flags, sftp.Attributes())
        last = self.got[-1]
        assert isinstance(last, Packet), last
        return sftp.parse_handle(last.body)

    def client(self, data: bytes) -> None:
        """Send bytes of the client's."""
        self.ground.up += self.inspector.to_target(data)
        self.run()

    def target(self, data: bytes) -> None:
        """Send bytes of the target's."""
        passed = self.inspector.to_client(data, None)
        self.ground.down += passed
        self.run()

    def run(self) -> None:
        """Carry all there is."""
        while self.ground.up or self.ground.down:
            up, self.ground.up = bytes(self.ground.up), bytearray()
            for piece in self._pieces(self._at_target, up):
                self._at(piece)
            down, self.ground.down = bytes(self.ground.down), bytearray()
            for piece in self._pieces(self._at_client, down):
                if isinstance(piece, memoryview):
                    self.content += piece
                else:
                    self.got.append(piece)

    def _pieces(self, reader: PacketReader, data: bytes) -> list[Packet | Bulk | memoryview]:
        if data:
            reader.receive(data)
        return list(iter(reader.next_piece, None))

    def _at(self, piece: Packet | Bulk | memoryview) -> None:
        if isinstance(piece, memoryview):
            self.content += piece
            return
        ours = isinstance(piece, Packet) and piece.kind == sftp.REALPATH
        if isinstance(piece, Packet) and ours:
            self.asked.append(piece)
        else:
            self.seen.append(piece)
        if self.resolves if ours else self.answers:
            self.ground.down += self.inspector.to_client(self._answer(piece), None)

    def _answer(self, piece: Packet | Bulk) -> bytes:
        if isinstance(piece, Bulk):
            return sftp.status(piece.id, sftp.OK, "")
        if piece.kind == sftp.INIT:
            return sftp.encode_version(3, ((sftp.POSIX_RENAME, b"1"), (b"new@example", b"1")))
        number = piece.id
        assert number is not None
        if piece.kind in self.special:
            return self.special[piece.kind](number)
        match piece.kind:
            case sftp.REALPATH:
                path = sftp.parse_request(piece).paths[0].decode()
                real = self.realpath(path)
                if path in self.missing:
                    return sftp.status(number, sftp.NO_SUCH_FILE, "No such file")
                return sftp.name(number, real.encode())
            case sftp.OPEN | sftp.OPENDIR:
                self._handle += 1
                return sftp.packet(sftp.HANDLE, number, string(self._handle.to_bytes(4, "big")))
            case sftp.READ:
                reader = Reader(piece.body)
                reader.take(4), reader.string()
                offset, size = int.from_bytes(reader.take(8), "big"), reader.uint32()
                if offset >= 100_000:
                    return sftp.status(number, sftp.EOF, "")
                count = min(size, 100_000 - offset)
                return sftp.packet(sftp.DATA, number, string(bytes(count)))
            case sftp.LSTAT if sftp.parse_request(piece).paths[0].decode() in self.missing:
                return sftp.status(number, sftp.NO_SUCH_FILE, "No such file")
            case sftp.STAT | sftp.LSTAT | sftp.FSTAT:
                return sftp.packet(sftp.ATTRS, number, sftp.Attributes(size=100_000).encode())
            case _:
                return sftp.status(number, sftp.OK, "")

    def realpath(self, path: str) -> str:
        """Say where a path leads."""
        path = posixpath.normpath(posixpath.join(self.home, path))
        for link, leads in self.links.items():
            if path == link or path.startswith(f"{link}/"):
                return self.realpath(leads + path[len(link) :])
        return path

    @property
    def paths(self) -> list[tuple[int, tuple[bytes, ...]]]:
        """Kinds and paths of what reached the target."""
        packets = [each for each in self.seen if isinstance(each, Packet)]
        return [(each.kind, sftp.parse_request(each).paths) for each in packets]

    @property
    def statuses(self) -> list[tuple[int | None, int]]:
        """Ids and codes of what reached the client."""
        return [
            (each.id, sftp.parse_status(each.body)[0])
            for each in self.got
            if isinstance(each, Packet) and each.kind == sftp.STATUS
        ]


class SftpCase(SynchronousTestCase):
    """With a channel that has begun."""

    def setUp(self) -> None:
        self.bench = Bench().begin()
        self.deciding, self.ground = self.bench.deciding, self.bench.ground
