"""PostgreSQL behind hoopgw."""
