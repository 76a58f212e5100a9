"""fibrolab: stage liver fibrosis from ultrasound, with baselines and confidence intervals."""

import os

__version__ = "0.1.0"

# The threads of NumPy's OpenBLAS wait actively for 0.1 s after each product of matrices, and take the cores
# from decoding and from PyTorch. With this they sleep at once; OpenBLAS reads it when NumPy is imported.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
