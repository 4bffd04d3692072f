"""The decisions of payments that need neither database nor network."""
