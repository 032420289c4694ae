"""Combination types that PEFT does not have, as their papers write them: on dense deltas, in float64, step by step."""

from __future__ import annotations

import math

import torch


def svd(matrix, rank):
    """The first triples."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return left[:, :rank], values[:rank], right[:rank]


def polar(matrix):
    """The orthonormal matrix that is nearest, by Procrustes."""
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    return left @ right


def tsv(deltas, weights, ranks):
    """arXiv:2412.00081, algorithm 1: concatenate, orthogonalise by Procrustes; 1/T of each where all are too many."""
    size = min(deltas[0].shape)
    room = size if sum(ranks) <= size else size // len(deltas)
    triples = [svd(delta, min(rank, room)) for delta, rank in zip(deltas, ranks, strict=True)]
    lefts = torch.cat([left for left, _, _ in triples], 1)
    values = torch.cat([weight * values for weight, (_, values, _) in zip(weights, triples, strict=True)])
    rights = torch.cat([right for _, _, right in triples])
    return polar(lefts) @ torch.diag(values) @ polar(rights)


def iso_c(deltas, weights, ranks):
    """arXiv:2502.04959, equations 8 and 9: U·(mean of σ)·Vᵀ of the sum, over the singular values that are not zero."""
    total = sum(weight * delta for weight, delta in zip(weights, deltas, strict=True))
    left, values, right = svd(total, min(sum(ranks), *total.shape))
    return values.mean() * left @ right


def iso_cts(deltas, weights, ranks, share):
    """arXiv:2502.04959, algorithm 2, with as many directions as the LoRAs have together."""
    deltas = [weight * delta for weight, delta in zip(weights, deltas, strict=True)]
    size, count = min(sum(ranks), *deltas[0].shape), len(deltas)
    own = round((size - int(size * share)) / count)
    common = svd(sum(deltas), size - count * own)
    beyond = [svd(delta - common[0] @ common[0].T @ delta, own) for delta in deltas]
    lefts, values, rights = zip(common, *beyond, strict=True)
    return torch.cat(values).mean() * polar(torch.cat(lefts, 1)) @ polar(torch.cat(rights))


def karcher(deltas, weights, _ranks):
    """The point whose mean logarithm is zero, by steps of a quarter; as long as the deltas are in the mean."""
    shares = torch.tensor([abs(weight) for weight in weights], dtype=torch.float64)
    shares /= shares.sum()
    points = [math.copysign(1, weight) * delta / delta.norm() for weight, delta in zip(weights, deltas, strict=True)]
    centre = sum(share * point for share, point in zip(shares, points, strict=True))
    centre /= centre.norm()
    for _ in range(300):
        step = torch.zeros_like(centre)
        for share, point in zip(shares, points, strict=True):
            angle = torch.arccos(((centre * point).sum()).clamp(-1, 1))
            if angle > 1e-9:
                step += share * angle / angle.sin() * (point - angle.cos() * centre)
        centre = centre + 0.25 * step
        centre /= centre.norm()
    return sum(share * delta.norm() for share, delta in zip(shares, deltas, strict=True)) * centre


def nuslerp(deltas, weights, _ranks):
    """Shoemake's formula on the deltas, as mergekit has it."""
    one, other = (math.copysign(1, weight) * delta for weight, delta in zip(weights, deltas, strict=True))
    share = abs(weights[1]) / (abs(weights[0]) + abs(weights[1]))
    angle = torch.arccos((one * other).sum() / (one.norm() * other.norm()))
    return (((1 - share) * angle).sin() * one + (share * angle).sin() * other) / angle.sin()


def della(deltas, weights, density, epsilon, drawn):
    """arXiv:2406.11617, section 3: p by rank in a row, rescale by 1/(1-p), elect the sign of the sum, average.

    `drawn` gives what is kept, from the place of a LoRA and the probabilities of its values.
    """
    thinned = []
    for place, delta in enumerate(deltas):
        chances = torch.empty_like(delta)
        for row, out in zip(delta, chances, strict=True):
            for rank, column in enumerate(sorted(range(len(row)), key=lambda column, row=row: abs(row[column]))):
                out[column] = density - epsilon + 2 * epsilon * rank / (len(row) - 1)
        thinned.append(delta * drawn(place, chances) / chances)
    elected = torch.where(sum(thinned) >= 0, 1.0, -1.0)
    agree = [delta * elected > 0 for delta in thinned]
    total = sum(weight * delta * each for weight, delta, each in zip(weights, thinned, agree, strict=True))
    return total / sum(each.double() for each in agree).clamp(min=1)


def breadcrumbs(deltas, weights, density, gamma):
    """arXiv:2312.06795, equation 2: a mask for each layer, without the top gamma and the bottom of the magnitudes."""
    total = torch.zeros_like(deltas[0])
    for delta, weight in zip(deltas, weights, strict=True):
        order = delta.abs().flatten().argsort(descending=True)
        top = int(gamma * len(order))
        mask = torch.zeros_like(delta).flatten()
        mask[order[top : top + int(density * len(order))]] = 1
        total += weight * mask.reshape(delta.shape) * delta
    return total


def sce(deltas, weights, density):
    """arXiv:2408.07990, section 3.3: select by variance, calculate shares from energies, erase minority signs."""
    deltas = torch.stack([weight * delta for weight, delta in zip(weights, deltas, strict=True)])
    variance = deltas.var(0, unbiased=False).flatten()
    chosen = torch.zeros_like(variance)
    chosen[variance.argsort(descending=True)[: int(density * int((variance != 0).sum()))]] = 1
    deltas = deltas * chosen.reshape(deltas.shape[1:])
    shares = torch.stack([(delta**2).sum() for delta in deltas])
    shares = (shares / shares.sum())[:, None, None]
    majority = torch.where(deltas.sum(0) >= 0, 1.0, -1.0)
    stays = (deltas.sign() == majority).double()
    return (shares * stays * deltas).sum(0) / (shares * stays).sum(0).clamp(min=1e-12)
