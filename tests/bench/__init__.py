"""Benchmarks: what a million log records cost, beside a stock Faust agent on the same machine in the same run."""
