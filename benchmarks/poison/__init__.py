"""Messages that kill or hang their process: the handler that poison_table.py and a test run."""
