"""What clients speak: one pure translator for each wire format, for requests and for what is answered."""
