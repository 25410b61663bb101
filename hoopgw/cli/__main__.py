"""``python -m hoopgw.cli`` is the `hoopgw` command."""

from hoopgw.cli.program import main

main()
