"""Tests for `hoopgw.streams`."""
