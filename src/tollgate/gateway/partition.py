"""Partition: a provider's totals and their details become disjoint parts that add up to the totals. Pure."""

from collections.abc import Mapping

from tollgate.kit.tokens import Kind


def parted(total: int | None, base: Kind, details: Mapping[Kind, int | None]) -> tuple[dict[Kind, int], bool]:
    """The parts of a total of which the details are a subset, and whether they contradict it (billing-rules §1).

    What no detail claims is of the base kind. Details larger than their total leave nothing to subtract from: then the
    whole total is of the base kind, and not more. No total leaves nothing known.
    """
    if total is None:
        return {}, True
    parts = {kind: count for kind, count in details.items() if count}
    rest = total - sum(parts.values())
    if rest < 0:
        return {base: total}, True
    return {base: rest, **parts}, False
