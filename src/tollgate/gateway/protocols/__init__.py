"""What clients speak: one pure translator for each protocol."""
