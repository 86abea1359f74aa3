"""The documents every rival stores, and the questions every rival answers: seeded, 300 bytes, twelve fields."""

from __future__ import annotations

import random
from typing import Any

CITIES = [f"city{i:03d}" for i in range(400)]


def documents(count: int, seed: int = 1, first: int = 0) -> list[dict[str, Any]]:
    """Return documents of about 300 bytes with ``_id``, indexed ``age`` (0 to 999) and ``email``; numbered from ``first``."""
    chance = random.Random(seed)
    return [
        {
            "_id": f"{i:08x}{chance.getrandbits(96):024x}",
            "name": f"user {i}",
            "email": f"user{i}@example.com",
            "age": chance.randrange(1000),
            "city": chance.choice(CITIES),
            "score": chance.random() * 100,
            "active": chance.random() < 0.5,
            "visits": chance.randrange(10_000),
            "tags": [chance.choice(CITIES) for _ in range(3)],
            "address": {"street": f"{chance.randrange(1000)} Main Street", "zip": chance.randrange(100_000)},
            "bio": "x" * 60,
            "joined": 1_600_000_000 + chance.randrange(100_000_000),
        }
        for i in range(first, first + count)
    ]
