"""The machinery, with no business in it: settings, databases, outbound HTTP, telemetry, jobs."""
