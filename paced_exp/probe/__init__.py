"""The gradient-SNR probe: pass-rate bins of equal size, their gradients, estimates, and a verdict."""
