"""The use cases of the reports, each a read of one consistent view of the database."""
