"""Cuts a length, such as the rows of an image, into parts."""


def slices(length: int, most: int) -> list[slice]:
    """Returns slices of at most `most` elements, all about as long, that together cover `length` elements."""
    count = -(-length // most)
    return [slice(i * length // count, (i + 1) * length // count) for i in range(count)]
