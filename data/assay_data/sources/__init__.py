"""Sources of a dataset: folders of videos, and annotated rows in the formats of other tools."""
