"""The notebook interface behind `import paced_exp as paced`: pass rates, weights, the probe, distillation and evaluation, with results that display themselves."""
