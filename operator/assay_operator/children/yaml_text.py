"""Manifests as YAML that people read."""

from collections.abc import Sequence

import yaml

from assay_operator.children.owner import Manifest


class _Plain(yaml.SafeDumper):
    """Writes what occurs twice twice, and texts of several lines as such."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: _Plain, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )


_Plain.add_representer(str, _text)


def yaml_text(manifests: Sequence[Manifest]) -> str:
    """Return the manifests as YAML documents."""
    return yaml.dump_all(manifests, Dumper=_Plain, sort_keys=False, explicit_start=True, width=100)
