"""What a student loses against its teacher: divergences, the tokens both models predict, and the reduction to a loss a problem.

Importing this package declares the divergences below by name. It does not load torch.
"""

from paced_exp.losses import kl, cross_entropy, jsd, akl  # noqa: F401, I001  the order in which messages list the names
