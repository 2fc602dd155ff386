"""Random histories of crashes: a small broker, lives that are killed at any step, and notes that outlive them."""
