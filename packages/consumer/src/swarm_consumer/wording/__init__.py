"""The parts of sentences: a line of the user's code, an error, a traceback without our own frames."""
