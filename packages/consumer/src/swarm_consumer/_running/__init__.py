"""A node at work: the runtime, and one run of a consumer."""
