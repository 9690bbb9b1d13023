"""Measuring the kernels: for the command line and the benchmarks, imported by nothing else."""
