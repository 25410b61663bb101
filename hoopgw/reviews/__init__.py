"""Approvals of held operations: who may approve what, and how a request goes through its states.

::

    requested ──▶ approved ──▶ consumed
        │            └───────▶ expired
        └──▶ denied | expired | withdrawn

`hoopgw.reviews.rules` says who may vote and when it is enough; it is pure. `hoopgw.reviews.docket`
moves requests through their states, each move being one guarded change of the store. Neither knows
of processes, connections or HTTP: `hoopgw.control` does.
"""
