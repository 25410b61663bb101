"""Fuzz targets: each module has ``fuzz(data)`` and ``SEEDS``, and states its invariant.

Under pytest each runs on some hundred inputs (`tests/fuzz/test_fuzz.py`). With coverage guidance:

    pip install atheris
    python -m tests.fuzz wire -max_total_time=600
"""
