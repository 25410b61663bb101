"""What must survive the control process: reviews, votes, log-ins, agents.

Only the control process opens the store. `hoopgw.store.rows` has the values and the `Store` seam,
`hoopgw.store.sqlite` the one backend there is; all SQL of a backend is in its own module. Rows that
must not be forged carry a seal (`hoopgw.store.seals`) made with a key that is not in the store: a
row whose seal does not hold is reported and treated as if it were not there, so tampering with the
file never makes an approval, a log-in or an agent.

What a seal cannot show is that a whole row was put back to what it was before. Hence approvals
live for minutes, and the process remembers what it saw used.
"""
