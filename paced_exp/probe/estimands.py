"""SNR^2 of a bin besides that of all its gradients: without the largest ones, and of their directions alone.

A ratio of means is ruled by its largest terms: in the lab's bins 1 % of the gradients holds 14 to 59 % of the squared norm. Both estimands
here are of another quantity than SNR^2 (the problems left out are not random ones; a direction weighs alike whatever its norm), so they say
how much of an answer rests on a few problems and are no better estimates of it.
"""

import math

import numpy as np

from paced_theory.snr import SNREstimate, estimate_snr_from_gram

TRIMMED_SHARE = 0.01


def kept(norms_squared: np.ndarray, share: float = TRIMMED_SHARE) -> np.ndarray:
    """Indices, ascending, of the gradients that remain without the ceil(share n) of largest norm."""
    order = np.argsort(norms_squared, kind="stable")
    return np.sort(order[: len(order) - math.ceil(share * len(order))])


def largest_share(norms_squared: np.ndarray, share: float = TRIMMED_SHARE) -> float:
    """What part of sum ||g||^2 the ceil(share n) largest gradients hold."""
    held = np.delete(norms_squared, kept(norms_squared, share)).sum(dtype=np.float64)
    return float(held / norms_squared.sum(dtype=np.float64))


def trimmed_snr(gram: np.ndarray, *, confidence: float, share: float = TRIMMED_SHARE) -> SNREstimate:
    """SNR^2 without the ceil(share n) largest gradients.

    gram: (n, n) with exact squared norms on its diagonal. Inner products are those of the Gram matrix, sketched or not: ||sum g||^2 of what
    remains is not known otherwise. Raises ValueError where fewer than three remain or they do not differ.
    """
    remaining = kept(np.diag(gram), share)
    return estimate_snr_from_gram(gram[np.ix_(remaining, remaining)], confidence=confidence)


def unit_norm_snr(gram: np.ndarray, *, confidence: float) -> SNREstimate:
    """SNR^2 of g / ||g||, those of norm zero left out: they have no direction.

    gram: (n, n) with exact squared norms on its diagonal. Inner products are those of the Gram matrix, sketched or not. Raises ValueError
    where fewer than three have a norm or their directions do not differ.
    """
    norms = np.sqrt(np.diag(gram))
    turned = norms > 0
    cosines = gram[np.ix_(turned, turned)] / np.outer(norms[turned], norms[turned])
    np.fill_diagonal(cosines, 1.0)
    return estimate_snr_from_gram(cosines, confidence=confidence)
