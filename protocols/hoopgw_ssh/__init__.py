"""SSH behind hoopgw: the transport, and what it carries."""
