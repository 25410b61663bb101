"""Measurements, not tests: each prints what it measured, and how."""
