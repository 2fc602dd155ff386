"""What the outside is shown over HTTP: probes, status, metrics and the page, in slices of somebody else's loop."""
