"""The broker: keeps the keys of a chain's members away from the processes that act for them.

`hoopgw delegate` makes a child identity here and runs a command with it. The command gets a unix
socket, over which it can have proofs that are good once and can delegate further, and local doors
for the clients of each protocol (`hoopgw.broker.doors`). It never gets a key.

Whom it serves is told by the kernel: same user, and the command's own tree of processes. Where
both run as one user that is attribution, not containment, and the hop says so: ``isolated=false``.
"""
