"""The public test kit: an embedded broker with fault injection, a real broker, and helpers for tests of consumers."""
