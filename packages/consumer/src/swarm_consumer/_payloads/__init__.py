"""The contents of a record: payloads and headers."""
