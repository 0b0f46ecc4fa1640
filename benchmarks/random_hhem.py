"""A folder of HHEM-2.1-Open's layout with random weights: T5 with a token-classification head."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import T5Config, T5ForTokenClassification

TEXTS = (
    "Determine if the hypothesis is true given the premise?\n\nPremise: \n\nHypothesis: ",
    "Ada wrote the first program. Grace found a moth in the relay of the machine.",
    "The river rises in the north and ends in the sea; nobody has seen its source.",
)


def write_random_hhem(
    folder: Path, *, width: int = 48, layers: int = 3, seed: int = 0
) -> T5ForTokenClassification:
    """Write the folder; return the model as transformers has it; width 768: FLAN-T5-base."""
    tokenizer = _tokenizer()
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        config = T5Config(
            vocab_size=tokenizer.get_vocab_size() + 28,
            d_model=width,
            d_kv=width // 12,
            d_ff=width * 8 // 3,
            num_layers=layers,
            num_heads=12,
            feed_forward_proj="gated-gelu",
            num_labels=2,
        )
        model = T5ForTokenClassification(config).eval()
        # As T5 begins, its scores hardly depend on the text.
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=2.8 * width**-0.5)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        f"t5.{name}": value.clone()
        for name, value in model.state_dict().items()
        if not name.endswith("embed_tokens.weight")
    }
    save_file(weights, folder / "model.safetensors")
    tokenizer.save(str(folder / "tokenizer.json"))
    published = {
        "architectures": ["HHEMv2ForSequenceClassification"],
        "auto_map": {"AutoModelForSequenceClassification": "modeling_hhem_v2.HHEMv2For"},
        "model_type": "HHEMv2Config",
    }
    (folder / "config.json").write_text(json.dumps(published))
    return model


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    specials = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=200,
        special_tokens=specials,
        unk_token="<unk>",
        initial_alphabet=[chr(i) for i in range(33, 127)],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    return tokenizer
