"""Tests of hoopgw.control."""
