"""Masks: what stands in an answer in place of a value that the principal may not see."""

from hoopgw.masking.kinds import KINDS, mask_text, plain_kind, token, token_integer, token_text

__all__ = ["KINDS", "mask_text", "plain_kind", "token", "token_integer", "token_text"]
