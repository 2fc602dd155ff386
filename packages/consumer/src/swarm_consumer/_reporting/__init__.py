"""Delivery of events to listeners and the log, and how often."""
