"""The words every slice speaks: money, tokens, ids, time, errors. Standard library only, no I/O."""
