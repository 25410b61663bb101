"""Policy: what a principal may do, decided by Cedar and explained.

``text`` reads files and cuts them, ``annotations`` and ``lint`` check what Cedar does not, ``sets``
makes a set of all that, ``questions`` asks Cedar, ``judging`` makes verdicts of its answers, and
``engine`` keeps and reloads them; ``check``, ``cases`` and ``explain`` are for people. The manual
is hoopgw-policy(7).
"""
