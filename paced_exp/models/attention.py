"""Which attention a training runs on a processor that multiplies in bfloat16."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def attention_spelt_out(device: str, precision: str) -> Iterator[None]:
    """For forward passes with a graph: in bf16 on a CPU, attention as products and a softmax; elsewhere as the model chooses.

    The backward pass of PyTorch's fused attention takes a quarter of such an update, and twice as long as all of this attention. What was
    computed within is differentiated without the fused kernel afterwards too. Source: ours.
    """
    if device == "cpu" and precision == "bf16":
        with sdpa_kernel(SDPBackend.MATH):
            yield
    else:
        yield
