"""What is served over HTTP: probes, status, metrics and the page, from the event loop of a host."""
