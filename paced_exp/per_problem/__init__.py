"""Per-problem gradients: the rule of each layer kind, their folding into norms and sums, the sketch. The engine is `paced_exp.gradients`."""
