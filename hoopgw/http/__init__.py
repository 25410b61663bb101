"""HTTP/1.1 as a strict gateway needs it: codec, server and client engine. Imports no protocol.

``messages`` and ``errors`` are the values that others work with, ``wire`` reads and writes bytes
without I/O, ``path`` reads targets. ``server``, ``client`` and ``pool`` stand on
`hoopgw.transport`, with ``streams`` between them. The control plane does not use any of it: it has
``twisted.web``.

Strict means: what two readers could read differently is refused, and its connection ends.
"""
