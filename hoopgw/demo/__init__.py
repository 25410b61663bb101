"""The demonstration: a real PostgreSQL, a real issuer, gateway and agent, on one machine.

Everything runs as processes of its own, on loopback, out of one private folder, and ends with the
command that started it. Nothing here is imported by the gateway or the agent.
"""
