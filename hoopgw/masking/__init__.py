"""Masks: what stands in an answer in place of a value that the principal may not see."""
