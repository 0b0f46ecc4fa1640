"""Quantities: numbers as Kubernetes writes them."""

import re

from assay_api.errors import InvalidInput

_FACTORS = {
    "": 1.0,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}


def quantity(text: str) -> float:
    """Return the number that a quantity stands for.

    Example:
        >>> quantity("1500m"), quantity("2Ki")
        (1.5, 2048.0)

    Raises:
        InvalidInput: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zA-Z]*)", text)
    if found is None or found[2] not in _FACTORS:
        raise InvalidInput(f"{text!r} is no quantity, such as 500m or 16Gi")
    return float(found[1]) * _FACTORS[found[2]]


def cores(cpus: float) -> str:
    """Return a number of cores as a quantity, in thousandths where it is not whole.

    Example:
        >>> cores(2.0), cores(0.0625)
        ('2', '62m')
    """
    thousandths = max(1, int(cpus * 1000))
    return str(thousandths // 1000) if thousandths % 1000 == 0 else f"{thousandths}m"


def binary_bytes(gib: float) -> str:
    """Return a number of GiB as a quantity, in MiB where it is not whole.

    Example:
        >>> binary_bytes(1.5), binary_bytes(2.0)
        ('1536Mi', '2Gi')
    """
    mebibytes = max(1, int(gib * 1024))
    return f"{mebibytes}Mi" if mebibytes % 1024 else f"{mebibytes // 1024}Gi"
