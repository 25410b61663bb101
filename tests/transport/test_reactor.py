"""The reactor of the data worker, in a process of its own: a process has one reactor."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

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


class ReactorTests(SynchronousTestCase):
    """What `DirectReactor` takes from Twisted is still there."""

    def test_direct_dispatch_guards_itself(self) -> None:
        """A protocol that raises loses its connection, and the reactor goes on."""
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            capture_output=True,
            text=True,
            timeout=30,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self.assertEqual(done.stdout.split(), ["ValueError", "stopped"], done.stderr)
