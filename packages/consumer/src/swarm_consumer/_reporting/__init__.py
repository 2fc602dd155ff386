"""Who is told of events, and how often."""
