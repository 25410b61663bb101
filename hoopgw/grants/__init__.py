"""Just-in-time grants: access for a while, asked for, approved, and ended.

::

    requested ──▶ active ──▶ expired | revoked | consumed
        └──▶ denied | expired | withdrawn

A grant fills a Cedar template of the policy in for the hops of one chain and one target, until a
time. ``held`` is a grant as workers and policy know it, ``view`` what a worker knows of all of
them, ``rules`` who may ask for, see and end which, ``ledger`` moves them through their states in
the control process; people vote on them in `hoopgw.reviews.docket`, like on anything else. What
may be asked for is said by annotations of templates: `hoopgw.policy.offers`.
"""
