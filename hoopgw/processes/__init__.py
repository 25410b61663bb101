"""The programs that the supervisor starts: ``python -m hoopgw.processes.<role> --config FILE``."""
