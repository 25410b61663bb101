"""Documents on their way: what HTTPS targets answer, masked by path while it streams."""
