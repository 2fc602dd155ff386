"""What a command does to an application's cluster: decisions over plain values, and one class that asks and tells."""
