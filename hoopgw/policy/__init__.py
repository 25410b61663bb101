"""Policy: what a principal may do, decided by Cedar and explained."""
