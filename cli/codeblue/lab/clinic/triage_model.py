"""A logistic regression over the words of a note: training on synthetic notes, and its use."""

from __future__ import annotations

import math
import random
import re

BIAS = "(bias)"
_URGENT = ("severe", "chest", "pain", "bleeding", "unconscious", "breathless", "stroke", "seizure")
_ROUTINE = ("routine", "follow-up", "vaccination", "prescription", "certificate", "stable", "review", "physiotherapy")
_NEUTRAL = ("patient", "visit", "today", "reports", "since", "morning", "family", "asked")


def words(note: str) -> set[str]:
    return set(re.findall(r"[a-z-]+", note.lower()))


def probability(weights: dict[str, float], note: str) -> float:
    """How likely the note describes an emergency, 0 to 1."""
    score = weights.get(BIAS, 0.0) + sum(weights.get(word, 0.0) for word in words(note))
    return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, score))))


def train(seed: int, notes: int = 240, rounds: int = 40, rate: float = 0.1) -> dict[str, float]:
    """Stochastic gradient descent on synthetic notes; the same seed gives the same model."""
    generator = random.Random(seed)
    samples: list[tuple[str, float]] = []
    for _ in range(notes):
        urgent = generator.random() < 0.5
        own, other = (_URGENT, _ROUTINE) if urgent else (_ROUTINE, _URGENT)
        chosen = [*generator.sample(own, 2), *generator.sample(_NEUTRAL, 3)]
        if generator.random() < 0.15:
            chosen.append(generator.choice(other))
        samples.append((" ".join(chosen), 1.0 if urgent else 0.0))
    weights: dict[str, float] = {BIAS: 0.0}
    for _ in range(rounds):
        for note, label in samples:
            step = rate * (label - probability(weights, note))
            for word in (BIAS, *sorted(words(note))):
                weights[word] = weights.get(word, 0.0) + step
    return {word: round(weight, 6) for word, weight in sorted(weights.items())}
