"""Other systems: OpenTelemetry, systemd, and the events of a supervisor."""
