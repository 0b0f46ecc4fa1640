"""The sizes of a Qwen2.5-VL, and how many parameters and bytes follow from them.

Source: `Qwen2_5_VLForConditionalGeneration` of transformers 5.19 (models/qwen2_5_vl). A test counts
the parameters of that class and compares.
"""

from dataclasses import dataclass

PATCH_VALUES = 3 * 2 * 14 * 14
"""Numbers of one patch: colours x frames x height x width."""
PATCHES_PER_TOKEN = 4
"""2 x 2 patches are merged into one visual token."""

TEXT_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a text layer."""


@dataclass(frozen=True, slots=True)
class VisionShape:
    """Sizes of the vision tower."""

    hidden: int
    depth: int
    intermediate: int
    heads: int

    def block_parameters(self) -> int:
        """Parameters of one block: two norms, attention and gated MLP, all linears with bias."""
        h, i = self.hidden, self.intermediate
        return 2 * h + (3 * h * h + 3 * h) + (h * h + h) + 2 * (h * i + i) + (i * h + h)


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a model."""

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int
    tied: bool
    """Whether the output head is the token embedding."""
    vision: VisionShape

    @property
    def head_size(self) -> int:
        """Width of an attention head."""
        return self.hidden // self.heads

    @property
    def kv_width(self) -> int:
        """Width of the keys of a token, and of its values."""
        return self.kv_heads * self.head_size

    def linear_sizes(self) -> dict[str, tuple[int, int]]:
        """Return inputs and outputs of each linear of a text layer."""
        h, i, kv = self.hidden, self.intermediate, self.kv_width
        sizes = ((h, h), (h, kv), (h, kv), (h, h), (h, i), (h, i), (i, h))
        return dict(zip(TEXT_LINEARS, sizes, strict=True))

    @property
    def layer_parameters(self) -> int:
        """Parameters of one text layer: its linears, biases of q, k and v, two norms."""
        weights = sum(inputs * outputs for inputs, outputs in self.linear_sizes().values())
        return weights + self.hidden + 2 * self.kv_width + 2 * self.hidden

    @property
    def text_parameters(self) -> int:
        """Parameters of embedding, text layers, last norm and output head."""
        tables = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return tables + self.layers * self.layer_parameters + self.hidden

    @property
    def vision_parameters(self) -> int:
        """Parameters of patch embedding, blocks and merger (norm and two linears)."""
        v, merged = self.vision, PATCHES_PER_TOKEN * self.vision.hidden
        merger = v.hidden + (merged * merged + merged) + (merged * self.hidden + self.hidden)
        return PATCH_VALUES * v.hidden + v.depth * v.block_parameters() + merger

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.text_parameters + self.vision_parameters

    def lora_parameters(self, rank: int, targets: tuple[str, ...]) -> int:
        """Return the parameters of adapters: A is rank x inputs, B is outputs x rank.

        Example:
            >>> KNOWN["Qwen2.5-VL-7B"].lora_parameters(16, TEXT_LINEARS)
            40370176
        """
        sizes = self.linear_sizes()
        per_layer = sum(rank * sum(sizes[name]) for name in targets if name in sizes)
        return self.layers * per_layer

    def kv_bytes_per_token(self, bytes_per_number: int) -> int:
        """Return the bytes of one token's keys and values in all layers.

        Example:
            >>> KNOWN["Qwen2.5-VL-7B"].kv_bytes_per_token(2)
            57344
        """
        return 2 * self.layers * self.kv_width * bytes_per_number


def _qwen(name: str, text: tuple[int, int, int, int, int, int], vision_mlp: int) -> ModelShape:
    hidden, layers, heads, kv_heads, intermediate, vocabulary = text
    vision = VisionShape(hidden=1280, depth=32, intermediate=vision_mlp, heads=16)
    tied = name.endswith("-3B")
    return ModelShape(name, hidden, layers, heads, kv_heads, intermediate, vocabulary, tied, vision)


KNOWN = {
    shape.name: shape
    for shape in (
        _qwen("Qwen2.5-VL-3B", (2048, 36, 16, 2, 11008, 151_936), 3420),
        _qwen("Qwen2.5-VL-7B", (3584, 28, 28, 4, 18944, 152_064), 3420),
        _qwen("Qwen2.5-VL-32B", (5120, 64, 40, 8, 27648, 152_064), 3456),
        _qwen("Qwen2.5-VL-72B", (8192, 80, 64, 8, 29568, 152_064), 3456),
    )
}
"""The published models. Source: config.json of Qwen/NAME-Instruct; a test holds that they have as
many parameters as the published weights."""

FINETUNES = {
    "sophiavl-r1-thinking-reward-model-3b": "Qwen2.5-VL-3B",
    "sophiavl-r1-7b": "Qwen2.5-VL-7B",
    "busterx_plusplus": "Qwen2.5-VL-7B",
    "busterx-plusplus": "Qwen2.5-VL-7B",
}
"""Published models on these sizes whose name does not say so, in lower case."""
