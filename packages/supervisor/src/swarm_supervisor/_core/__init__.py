"""Every decision of the supervisor, and the state that decisions depend on. Pure: no clock, no process, no thread."""
