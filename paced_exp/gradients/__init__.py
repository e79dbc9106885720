"""Per-problem gradients: their norms, sums and sketches."""
