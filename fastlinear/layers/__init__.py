"""The layers: checks, shapes and what is kept for backward. Their arithmetic is the kernels'."""
