"""The reactor of the data worker, in a process of its own: a process has one reactor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.transport import accelerated
from hoopgw.transport.reactor import DirectReactor
from tests.support.certificates import Authority

_PROGRAM = """
from hoopgw.transport.reactor import install
install()
from twisted.internet import reactor
assert type(reactor).__name__ == "DirectReactor", reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.defer import Deferred, ensureDeferred
from hoopgw.transport import Address, connect, listen

class Echo(Protocol):
    def dataReceived(self, data):
        self.transport.write(data)

class Bad(Protocol):
    def connectionMade(self):
        self.lost = Deferred()
    def dataReceived(self, data):
        raise ValueError("a protocol that raises")
    def connectionLost(self, reason):
        self.lost.callback(reason.type.__name__)

async def main():
    class Echoes(Factory):
        noisy = False
        protocol = Echo
    port = listen(reactor, Address("127.0.0.1", 0), Echoes())
    bad = Bad()
    transport = await connect(reactor, Address("127.0.0.1", port.getHost().port), bad)
    transport.write(b"x")
    print(await bad.lost)
    calls = []
    reactor.callLater(0, calls.append, "timer")
    reactor.callLater(0.01, reactor.stop)

ensureDeferred(main()).addErrback(lambda f: (f.printTraceback(), reactor.stop()))
reactor.run()
print("stopped")
"""


_CARRIER = """
import ssl, sys
from hoopgw.transport.reactor import install
install()
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.defer import Deferred, ensureDeferred
from hoopgw.link.pump import Pump
from hoopgw.transport import Address, adopt, connect, listen
import hashlib, random, socket

WANTED = (3 if len(sys.argv) == 1 else 1) * 2**20
HELD = 0.05

class Shaken(Protocol):
    def __init__(self):
        self.done = Deferred()
    def handshakeCompleted(self):
        self.transport.pauseProducing()
        self.done.callback(None)

class Answers(Protocol):
    "Sends back all that it gets, and stops reading now and then."
    def connectionMade(self):
        self.count = 0
        self.transport.registerProducer(self, True)
    def pauseProducing(self):
        self.transport.pauseProducing()
    def resumeProducing(self):
        self.transport.resumeProducing()
    def stopProducing(self):
        pass
    def dataReceived(self, data):
        self.count += 1
        self.transport.write(bytes(data))
        if self.count % 50 == 1:
            self.transport.pauseProducing()
            reactor.callLater(HELD / 10, self.transport.resumeProducing)
    def connectionLost(self, reason):
        pass

class Asks(Protocol):
    "Sends pieces of all sizes, reads late, and counts."
    def connectionMade(self):
        self.sent, self.got = hashlib.sha256(), hashlib.sha256()
        self.size = self.read = 0
        self.done = Deferred()
        self.random = random.Random(7)
        self.more()
    def more(self):
        while self.size < WANTED and self.transport.queued < 300_000:
            piece = self.random.randbytes(self.random.choice((1, 60, 5_000, 200_000)))
            self.size += len(piece)
            self.sent.update(piece)
            self.transport.write(piece)
        if self.size < WANTED:
            reactor.callLater(0.001, self.more)
    def dataReceived(self, data):
        self.got.update(data)
        self.read += len(data)
        if self.read >= WANTED and self.read == self.size:
            self.done.callback(None)
    def connectionLost(self, reason):
        if not self.done.called:
            self.done.callback(None)

async def main():
    class Server(Factory):
        noisy = False
        protocol = Answers
    served = trusting = None
    if len(sys.argv) > 1:
        served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        served.load_cert_chain(sys.argv[1], sys.argv[2])
        trusting = ssl.create_default_context(cafile=sys.argv[3])
        trusting.check_hostname = False
    port = listen(reactor, Address("127.0.0.1", 0), Server(), tls=served)
    near, ours = socket.socketpair()
    shaken = Shaken()
    where = Address("127.0.0.1", port.getHost().port)
    far = await connect(reactor, where, shaken, paused=served is None, tls=trusting)
    if served is not None:
        await shaken.done
    ended = Deferred()
    pump = Pump(adopt(reactor, near), far, lambda: ended.callback(None))
    pump.start()
    asks = Asks()
    transport = adopt(reactor, ours, asks)
    asks.makeConnection(transport)
    transport.resumeProducing()
    await asks.done
    print(asks.got.digest() == asks.sent.digest(), asks.read >= WANTED)
    transport.loseConnection()
    await ended
    print(near.fileno(), far.connected)
    reactor.stop()

ensureDeferred(main()).addErrback(lambda f: (f.printTraceback(), reactor.stop()))
reactor.callLater(100, reactor.stop)
reactor.run()
print(type(reactor).__name__, reactor._ready.__module__)
"""


class ReactorTests(SynchronousTestCase):
    """What `DirectReactor` takes from Twisted is still there."""

    plain = "1"

    def run_program(self, program: str, *arguments: object) -> list[str]:
        """Run a program in a process of its own; return the words that it prints."""
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            env={
                **os.environ,
                accelerated.VARIABLE: self.plain,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.split()

    def test_direct_dispatch_guards_itself(self) -> None:
        """A protocol that raises loses its connection, and the reactor goes on."""
        self.assertEqual(self.run_program(_PROGRAM), ["ValueError", "stopped"])

    def test_a_pump(self) -> None:
        """All bytes come, in order, past sides that read late; one side ends both."""
        *seen, reactor, module = self.run_program(_CARRIER)
        self.assertEqual((seen, reactor), (["True", "True", "-1", "False"], "DirectReactor"))
        self.assertEqual(module.endswith("_dispatch"), self.plain != "1")


class CompiledReactorTests(ReactorTests):
    """The compiled twin of its inner loop does the same."""

    plain = ""

    def setUp(self) -> None:
        if not accelerated.is_built("hoopgw.transport._dispatch"):
            raise SkipTest("it was not built")

    def test_a_pump_with_tls(self) -> None:
        """The same, where what comes from one side is decrypted."""
        folder = Path(self.mktemp())
        folder.mkdir()
        authority = Authority.make()
        pair = authority.issue(folder, "far")
        ca = authority.write(folder / "ca.crt")
        seen = self.run_program(_CARRIER, pair.certificate, pair.key, ca)
        self.assertEqual(seen[:4], ["True", "True", "-1", "False"])


class WaitTests(SynchronousTestCase):
    """How long it waits."""

    def test_a_timer_in_some_weeks(self) -> None:
        """It waits for no longer than the kernel can count, also when it waits again."""
        direct = DirectReactor()
        self.addCleanup(direct._poller.close)
        waits: list[float] = []

        def ready(_poller: object, wait: float, _selectables: object) -> list[Any] | None:
            waits.append(wait)
            return [] if len(waits) == 1 else None

        direct._ready = ready
        direct.running = True
        direct.callLater(40 * 86_400, waits.clear)
        direct.doPoll(direct.timeout())
        self.assertEqual(waits, [2_147_483.0, 2_147_483.0])
