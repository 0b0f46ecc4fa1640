"""The verifier that `assay serve` serves itself: an encoder that scores premise and hypothesis."""
