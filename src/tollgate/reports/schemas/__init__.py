"""The API shapes of the reports: what may be asked of them, and what they answer."""
