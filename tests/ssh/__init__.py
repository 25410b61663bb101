"""Tests of SSH: the transport and what it carries."""
