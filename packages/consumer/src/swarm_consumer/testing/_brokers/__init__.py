"""The processes behind the brokers of the test kit."""
