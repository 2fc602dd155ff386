"""Is this process well? Ages and limits in, a verdict out; the thread that reports it; how memory is measured."""
