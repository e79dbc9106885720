"""Peak memory of tensors, exactly: every allocation and release that torch makes on the CPU while a function runs."""

import gc
from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile


def peak_bytes(function: Callable[[], object]) -> int:
    """Largest sum of bytes that `function` had allocated and not yet released, beyond what existed when it began."""
    gc.collect()  # else what others left in circles is released meanwhile, and counts as less
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        function()
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    peak = held = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
