"""Seeds that are made of several numbers."""


def mixed(*numbers: int) -> int:
    """Makes one seed of several numbers."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number) % 2**63
    return seed
