"""What a notebook uses, behind `import paced_exp as paced`: pass rates, weights, the probe, distillation, evaluation, each with a result that shows itself."""
