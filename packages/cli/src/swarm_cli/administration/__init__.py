"""What a command does to an application's cluster: its scope by the filters, and how it connects."""
