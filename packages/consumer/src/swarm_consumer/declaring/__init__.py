"""What users declare: whether it can be right, and how a setting is a row."""
