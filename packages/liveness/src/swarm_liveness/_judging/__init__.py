"""Whether this process is healthy: the checks, how memory is measured, and the thread that reports the verdict."""
