"""Records that go out: the producer, what was delivered, transactions."""
