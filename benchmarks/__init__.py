"""Measurements, not tests: figures beside the targets they are held to.

``python -m benchmarks`` runs all of them, ``python -m benchmarks small bulk`` some. Absolute
figures depend on the machine, so nearly all are ratios within one run. Candidates take turns in
rounds, every process is pinned to a processor, and each candidate must show that it did the work
itself. Nothing here is imported by the product.
"""
