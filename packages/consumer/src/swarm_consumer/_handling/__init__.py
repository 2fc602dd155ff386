"""What a user writes and is given: consumers, batches, messages, hooks."""
