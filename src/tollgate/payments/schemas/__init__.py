"""The API shapes of payments."""
