"""Stream transports for the data legs: Twisted's interfaces at a third of the cost.

Twisted's own transports spend most of a small round trip on bookkeeping (a write goes through a
buffer, a poll and a second pass; TLS through four more layers). A `DataTransport` reads into one
buffer that all of them share, writes at once, and queues only what the kernel does not take. It
runs on any reactor; on `hoopgw.transport.reactor` it is dispatched without Twisted's logging
context. The control plane keeps Twisted's own transports.

What differs from Twisted, on purpose:

- ``dataReceived`` gets a `memoryview` of the shared buffer: copy what you keep.
- ``loseConnection`` does not wait for a registered producer, lingers so that the peer can read the
  last bytes, and gives up after `LINGER` seconds.
- ``pauseProducing`` is immediate: nothing is delivered after it until ``resumeProducing``.
"""

from hoopgw.transport.ports import Address, adopt, connect, listen
from hoopgw.transport.stream import DataTransport

__all__ = ["Address", "DataTransport", "adopt", "connect", "listen"]
