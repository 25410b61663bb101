"""Secret sources: where the agent, and nobody else, gets a target's credentials from."""
