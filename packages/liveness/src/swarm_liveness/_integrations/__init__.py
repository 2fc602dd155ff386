"""Links to other systems: OpenTelemetry, systemd, and the events of a supervisor."""
