"""Tests of the `hoopgw` command."""
