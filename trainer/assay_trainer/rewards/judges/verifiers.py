"""The verifier that a RewardModel is, by its protocol."""

from assay_api import InvalidInput, ResolvedJudge
from assay_trainer.rewards.judges.chat import Judge
from assay_trainer.rewards.judges.chat_pairs import ChatPairs
from assay_trainer.rewards.judges.pairs import PairsClient


def pair_scorer(spec: ResolvedJudge) -> PairsClient | ChatPairs:
    """Return the verifier that answers at an address; nothing is sent yet.

    Raises:
        InvalidInput: it is a judge of reasoning, which scores no pairs.
    """
    if spec.protocol == "Pairs":
        return PairsClient(spec)
    if spec.protocol == "ChatPairs":
        return ChatPairs(Judge(spec))
    raise InvalidInput(
        f"RewardModel/{spec.name}: field spec.protocol: {spec.protocol} scores reasoning, not "
        "pairs of premise and hypothesis; a verifier has Pairs or ChatPairs"
    )
