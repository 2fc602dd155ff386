"""What is inside a record: payloads and headers."""
