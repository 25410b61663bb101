"""The link: how the gateway reaches targets through agents, and what an agent will accept.

Agents dial out; the gateway listens for them. `hoopgw.link.gateway` is the gateway's side,
`hoopgw.link.agent` the agent's. Between them: one control connection (`hoopgw.ipc`), and a pool of
data connections, each of which serves one session and then is closed. What the gateway wants of a
target it says in a ticket (`hoopgw.link.tickets`), and what an agent ever does is bounded by its
own floor policy (`hoopgw.link.floor`).
"""
