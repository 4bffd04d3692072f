"""`python -m tollgate` is the command line."""

from tollgate.entrypoints.cli import main

main(prog_name="tollgate")
