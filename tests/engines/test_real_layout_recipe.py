from pathlib import Path

import real_layout
import yaml

from assay_api.manifests import load


def test_the_recipe_on_the_real_layout_is_right(tmp_path: Path) -> None:
    """Each step's manifests refer to nothing but what the steps before it have."""
    files: list[str] = []
    for name, documents in real_layout.manifests(tmp_path, format_steps=30, long_steps=4).items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump_all(documents))
        files.append(str(path))
        load(files, (), exists=lambda id_: False)

    names = [resource.metadata.name for resource in load(files, (), exists=lambda id_: False)]
    assert set(names) == {
        *(
            "small",
            "format",
            "clips",
            "format-long",
            "foundation",
            "fusion",
            "advanced",
            "held-out",
        ),
    }
