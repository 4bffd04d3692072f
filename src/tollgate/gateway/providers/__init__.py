"""What upstreams speak: one pure translator for each wire format, for requests, answers, and the usage in them."""
