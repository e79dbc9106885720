"""Which attention a training runs on a processor that multiplies in bfloat16."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.nn.attention import SDPBackend, sdpa_kernel

LONGEST = 512  # tokens of a row, beyond which its matrix of attention costs more memory than the time is worth


@contextmanager
def attention_spelt_out(device: str, precision: str, tokens: int) -> Iterator[None]:
    """For training, forward and backward: in bf16 on a CPU, attention as products and a softmax; elsewhere as the model chooses.

    The backward pass of PyTorch's fused attention takes a quarter of such an update, and twice as long as all of this attention, which holds
    a matrix of tokens x tokens for each head. tokens: of the longest row; beyond `LONGEST` the model chooses. The backward pass belongs
    within, since recomputed activations (gradient checkpointing) must be computed in the same way. Source: ours.
    """
    if device == "cpu" and precision == "bf16" and tokens <= LONGEST:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    else:
        yield
