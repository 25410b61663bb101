"""Attacks, kept as tests."""
