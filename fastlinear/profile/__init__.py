"""Measuring the kernels: what the command line and the benchmarks share, imported by nothing else."""
