"""The decisions of agreements that need no database."""
