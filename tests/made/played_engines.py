"""Sampler, learner and judge by their protocols, scripted and exact, for loops without an engine.

What they answer is given, token by token, and what they were asked is kept: a test works out by
hand what a step must draw, ask, keep, learn from and record. `played_parts` puts them into a real
`StageParts`, with a real dataset, store and checkpoints: only what computes is played.

A token of text is a character, its id the character's code; the end of a turn is one token, END_ID.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from assay_api import ResolvedJudge, ResolvedStageJob
from assay_api.stage import Lora
from assay_data.dataset import ClipDataset
from assay_data.store import open_store
from assay_trainer.chat import END, conversation
from assay_trainer.families.batch import MicroBatch
from assay_trainer.families.inputs import EncodedPrompt, Visual
from assay_trainer.families.token_bytes import _alphabet
from assay_trainer.learner.learner import CompletionLogprobs, LossOfMicroBatch, Update
from assay_trainer.loops.parts import StageParts
from assay_trainer.records import Media, Pictures, Rollout, Shown
from assay_trainer.rewards.judges.judging import Pair
from assay_trainer.rewards.outcome import Outcome
from assay_trainer.rollout.loaded_weights import LoadedWeights, weights_to_load
from assay_trainer.rollout.sampler import ClipRequest, Sample, SampleRequest, SamplingPlan

T = TypeVar("T")
END_ID = 1
PAD_ID = 0


def said(
    text: str,
    logprobs: Sequence[float] | None = None,
    *,
    token_ids: Sequence[int] | None = None,
    truncated: bool = False,
    alternatives: Sequence[Mapping[int, float]] = (),
) -> Sample:
    """A completion: of these tokens, else of its characters; -1 nat each if not told."""
    ids = tuple(encoded(text) if token_ids is None else token_ids)
    drawn = (-1.0,) * len(ids) if logprobs is None else tuple(logprobs)
    return Sample(Rollout(ids, drawn, text, truncated, 0), tuple(alternatives))


def encoded(text: str) -> tuple[int, ...]:
    """The token ids of a text."""
    pieces = [tuple(map(ord, piece)) for piece in text.split(END)]
    return pieces[0] + tuple(token for piece in pieces[1:] for token in (END_ID, *piece))


@dataclass
class PlayedPool:
    """Samplers side by side that answer by a script, and remember what they were asked."""

    script: Callable[[ClipRequest, SamplingPlan], Sequence[Sample]]
    """Gives the completions of a request, as many as the plan asks for."""
    num_engines: int = 1
    dtype: torch.dtype = torch.float32
    lora: Lora | None = None
    canaries: Sequence[Sample] | None = None
    """What each engine answers where all are asked the same; None: what the script says."""
    keeps_old_weights: Sequence[int] = ()
    """Engines that do not load what they are given."""
    asked: list[tuple[tuple[ClipRequest, ...], SamplingPlan]] = field(default_factory=list)
    compared: list[tuple[ClipRequest, SamplingPlan]] = field(default_factory=list)
    loaded: list[tuple[dict[str, Tensor], int]] = field(default_factory=list)
    """Weights and their policy version, load after load."""
    is_ready: bool = False

    def wait_ready(self) -> None:
        self.is_ready = True

    def sample(
        self, requests: Sequence[ClipRequest], plan: SamplingPlan
    ) -> list[tuple[Sample, ...]]:
        self.asked.append((tuple(requests), plan))
        return [self._answered(request, plan) for request in requests]

    def load(self, weights: Mapping[str, Tensor], policy_version: int) -> list[LoadedWeights]:
        self.loaded.append((dict(weights), policy_version))
        before = self.loaded[-2:][0][0]
        return [
            weights_to_load(
                before if engine in self.keeps_old_weights else weights, self.dtype, self.lora
            )
            for engine in range(self.num_engines)
        ]

    def each(self, request: ClipRequest, plan: SamplingPlan) -> list[Sample]:
        self.compared.append((request, plan))
        if self.canaries is not None:
            return list(self.canaries)
        return [self._answered(request, plan)[0]] * self.num_engines

    def _answered(self, request: ClipRequest, plan: SamplingPlan) -> tuple[Sample, ...]:
        """Completions bear the version of the weights that were loaded last, as an engine's do."""
        answers = self.script(request, plan)
        assert len(answers) == plan.num_samples, (len(answers), plan)
        version = self.loaded[-1][1] if self.loaded else 0
        return tuple(
            replace(answer, rollout=replace(answer.rollout, policy_version=version))
            for answer in answers
        )


@dataclass
class PlayedSampler:
    """One sampler that is shown the clips themselves, as an evaluation asks it."""

    script: Callable[[SampleRequest, SamplingPlan], Sequence[Sample]]
    asked: list[tuple[tuple[SampleRequest, ...], SamplingPlan]] = field(default_factory=list)
    loaded_weights: LoadedWeights = field(default_factory=lambda: LoadedWeights({}))
    is_closed: bool = False

    def sample(
        self, requests: Sequence[SampleRequest], plan: SamplingPlan
    ) -> list[tuple[Sample, ...]]:
        self.asked.append((tuple(requests), plan))
        answers = [tuple(self.script(request, plan)) for request in requests]
        assert all(len(answer) == plan.num_samples for answer in answers)
        return answers

    def load(self, weights: Mapping[str, Tensor], policy_version: int) -> None:
        self.loaded_weights = weights_to_load(weights, torch.float32, None)

    def loaded(self) -> LoadedWeights:
        return self.loaded_weights

    def close(self) -> None:
        self.is_closed = True


class PlayedRanks:
    """Learner processes as threads; each gives and gets what the others do."""

    def __init__(self, world_size: int = 1) -> None:
        self.world_size = world_size
        self._values: list[Any] = [None] * world_size
        self._barrier = threading.Barrier(world_size, timeout=20)

    def exchange(self, rank: int, value: T) -> list[T]:
        self._values[rank] = value
        self._barrier.wait()
        values = list(self._values)
        self._barrier.wait()
        return values

    def run(self, one: Callable[[int], T]) -> list[T]:
        """Run what each rank does, side by side; return what they return, by rank."""
        results: list[Any] = [None] * self.world_size
        errors: list[BaseException] = []

        def play(rank: int) -> None:
            try:
                results[rank] = one(rank)
            except BaseException as error:
                errors.append(error)
                self._barrier.abort()

        threads = [threading.Thread(target=play, args=(rank,)) for rank in range(self.world_size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        if errors:
            raise errors[0]
        return results


@dataclass(frozen=True)
class LearnedMicroBatch:
    """A micro-batch as an update met it."""

    batch: MicroBatch
    loss: float
    gradient: Tensor
    """Of the loss by the log-probability of each completion token, [batch, out]."""

    @property
    def completions(self) -> list[list[int]]:
        """The completions' token ids, without padding."""
        rows = zip(self.batch.completion_ids, self.batch.completion_mask, strict=True)
        return [ids[mask].tolist() for ids, mask in rows]

    @property
    def gradients(self) -> list[list[float]]:
        """The gradient by completion, without padding."""
        rows = zip(self.gradient, self.batch.completion_mask, strict=True)
        return [gradient[mask].tolist() for gradient, mask in rows]


@dataclass
class PlayedLearner:
    """One rank, whose log-probabilities are given and whose updates are remembered.

    Its one weight counts its updates, so that it is seen which weights go where.
    """

    ranks: PlayedRanks = field(default_factory=PlayedRanks)
    rank: int = 0
    logprob: Callable[[int], float] = lambda token: -1.0
    """Log-probability in nats of a token, by its id."""
    entropy: Callable[[int], float] = lambda token: 0.5
    grad_norm: float = 7.0
    updates: list[list[LearnedMicroBatch]] = field(default_factory=list)
    scored: list[MicroBatch] = field(default_factory=list)
    num_updates: int = 0

    @property
    def world_size(self) -> int:
        return self.ranks.world_size

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def score(self, batch: MicroBatch) -> CompletionLogprobs:
        self.scored.append(batch)
        return self._computed(batch, requires_grad=False)

    def update(self, work: Sequence[tuple[MicroBatch, LossOfMicroBatch]]) -> Update:
        """Take all losses and their gradients; the learning rate tells which update it is."""
        learned = []
        for batch, loss_of in work:
            out = self._computed(batch, requires_grad=True)
            loss = loss_of(out)
            loss.backward()
            assert out.logprobs.grad is not None
            learned.append(LearnedMicroBatch(batch, loss.item(), out.logprobs.grad))
        assert len(set(self.gather(len(work)))) == 1, "all ranks reduce their gradients together"
        self.updates.append(learned)
        self.num_updates += 1
        return Update(self.grad_norm, learning_rate=self.num_updates / 1000)

    def _computed(self, batch: MicroBatch, *, requires_grad: bool) -> CompletionLogprobs:
        def table(values: Callable[[int], float]) -> Tensor:
            found = [[values(token) for token in row] for row in batch.completion_ids.tolist()]
            return torch.tensor(found).where(batch.completion_mask, 0.0)

        logprobs = table(self.logprob).requires_grad_(requires_grad)
        return CompletionLogprobs(logprobs, table(self.entropy))

    def broadcast(self, value: T) -> T:
        return self.ranks.exchange(self.rank, value)[0]

    def gather(self, value: T) -> list[T]:
        return self.ranks.exchange(self.rank, value)

    def barrier(self) -> None:
        self.gather(None)

    def save(self, folder: Path) -> None:
        (folder / f"rank-{self.rank}").write_text(str(self.num_updates))

    def load(self, folder: Path) -> None:
        self.num_updates = int((folder / f"rank-{self.rank}").read_text())

    def weights(self) -> dict[str, Tensor]:
        return {"layers.0.weight": torch.tensor([float(self.num_updates)])}


@dataclass
class PlayedEncoder:
    """Encodes characters as tokens; the clip's own pixels stand for it, and take no token."""

    asked: list[tuple[str, int]] = field(default_factory=list)
    """Text of each prompt, and as how many images its clip was shown; 0: as a video."""

    def encode(self, text: str, media: Media) -> EncodedPrompt:
        ids = encoded(text)
        self.asked.append((text, len(media.frames) if isinstance(media, Pictures) else 0))
        positions = torch.arange(len(ids))[None]
        if media is None:
            return EncodedPrompt(ids, positions)
        pixels = torch.from_numpy(media.frames.astype("float32")).reshape(len(media.frames), -1)
        kind: Any = "image" if isinstance(media, Pictures) else "video"
        return EncodedPrompt(ids, positions, Visual(kind, pixels, torch.tensor([[1, 1, 1]])))

    def encode_completion(self, text: str) -> tuple[int, ...]:
        return encoded(text)


@dataclass
class PlayedJudge:
    """A judge whose scores are given, by a rule over the reasoning."""

    rule: Callable[[str], Outcome]
    name: str = "judge"
    num_frames: int = 2
    asked: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    """Question, reasoning and images. From one thread at a time: the order is that of asking."""
    is_checked: bool = False

    @property
    def spec(self) -> ResolvedJudge:
        return ResolvedJudge.model_validate(
            {
                "name": self.name,
                "url": "http://judge/v1",
                "model": "judge",
                "numFrames": self.num_frames,
                "concurrency": 1,
                "timeoutSeconds": 1,
                "retries": 0,
            }
        )

    def check(self) -> None:
        self.is_checked = True

    def score(self, question: str, reasoning: str, image_urls: Sequence[str] = ()) -> Outcome:
        self.asked.append((question, reasoning, tuple(image_urls)))
        return self.rule(reasoning)


@dataclass
class PlayedVerifier:
    """A verifier whose outcomes are given, by a rule over premise and sentence."""

    rule: Callable[[Pair], Outcome]
    name: str = "facts"
    asked: list[tuple[Pair, ...]] = field(default_factory=list)
    """The pairs of each call."""
    is_checked: bool = False

    def check(self) -> None:
        self.is_checked = True

    def score(self, pairs: Sequence[Pair]) -> list[Outcome]:
        self.asked.append(tuple(pairs))
        return [self.rule(pair) for pair in pairs]


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are bytes: the id of an ASCII character is its code."""
    vocab = {character: byte for character, byte in _alphabet().items()}
    words = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    words.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    tokenizer.pad_token_id = PAD_ID
    return tokenizer


def played_parts(job: ResolvedStageJob, learner: PlayedLearner | None = None) -> StageParts:
    """The parts of one learner process: all real, but for what computes."""
    learner = learner or PlayedLearner()
    policy: Any = SimpleNamespace(
        exported_weights=learner.weights,
        tokenizer=byte_tokenizer(),
        family=SimpleNamespace(shows=frozenset(Shown)),
        render=conversation,
        end=END,
    )
    encoder: Any = PlayedEncoder()
    dataset = ClipDataset.open(open_store(job.dataset))
    return StageParts(job, open_store(job.output), dataset, policy, learner, encoder)
