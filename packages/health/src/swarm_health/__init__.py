"""A typed, versioned health protocol over pipes, for supervised processes."""

__version__ = "0.1.0"
