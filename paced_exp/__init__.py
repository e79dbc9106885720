"""Real gradient-SNR probes and weighted distillation on real models."""

import os

# Threads that wait by spinning take the cores that other work needs: beside a single busy process, rollouts on two cores fell to a third of
# what they make alone, and to less than half of what they make with threads that sleep (`python -m bench.busy`). OpenMP reads its policy
# and OpenBLAS its number of threads when their libraries are loaded, so this must come before the first import of numpy or torch; commands
# import this package first, and their child processes inherit it. What the user has set stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# OpenBLAS cannot be told to sleep between products. Its products here are few beside torch's, whose threads are OpenMP's.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
