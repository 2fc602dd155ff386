"""Random histories of the consumer's runtime: its real code on simulated threads and a fake broker."""
