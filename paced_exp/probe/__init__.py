"""The gradient-SNR probe: bins filled to equal size, gradients a bin, estimates and a verdict."""
