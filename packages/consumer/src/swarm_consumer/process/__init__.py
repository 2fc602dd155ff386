"""The process around a runtime: signals that end it, and its exit codes."""
