"""The API's shapes of payments."""
