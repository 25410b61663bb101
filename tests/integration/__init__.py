"""Unmodified clients through a whole gateway to real servers."""
