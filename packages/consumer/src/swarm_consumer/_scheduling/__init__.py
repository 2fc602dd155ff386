"""Decides what may be worked on now, and what counts as done. Pure: no client, no thread, no clock."""
