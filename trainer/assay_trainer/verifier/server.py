"""A verifier's HTTP server: `/score` as vLLM speaks it, and what probes and Prometheus ask.

`usage.cut_pairs` of an answer counts the pairs whose evidence was cut to fit; vLLM has no such
field.
"""

import logging
import threading
import time
from collections.abc import Sequence

from fastapi import FastAPI, HTTPException, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict

from assay_trainer.verifier.hhem import Hhem
from assay_trainer.verifier.pair_texts import PairTokens, PairTooLongError, pair_tokens
from assay_trainer.verifier.served_metrics import CUT, CUT_TOKENS, PAIRS, SECONDS, TOKENS

_LOG = logging.getLogger(__name__)

MAX_PAIRS = 4096
"""Pairs in one request."""


class ScoreRequest(BaseModel):
    """Pairs to score: premises and hypotheses, as many of each, or one premise for all."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    text_1: str | list[str]
    text_2: str | list[str]

    def pairs(self) -> list[tuple[str, str]]:
        """Return the pairs.

        Raises:
            HTTPException: there are not as many premises as hypotheses.
        """
        premises = [self.text_1] if isinstance(self.text_1, str) else self.text_1
        hypotheses = [self.text_2] if isinstance(self.text_2, str) else self.text_2
        if len(premises) == 1:
            premises = premises * len(hypotheses)
        if len(premises) != len(hypotheses) or not 0 < len(hypotheses) <= MAX_PAIRS:
            raise HTTPException(
                400,
                f"text_1 has {len(premises)} texts and text_2 has {len(hypotheses)}: give as many "
                f"of each, or one text_1 for all; 1 to {MAX_PAIRS} pairs",
            )
        return list(zip(premises, hypotheses, strict=True))


def verifier_app(verifier: Hhem, name: str, max_tokens: int) -> FastAPI:
    """Return the server's application.

    Args:
        verifier: what scores.
        name: by which clients ask for it.
        max_tokens: longest pair; of a longer one the end of the evidence is cut off.
    """
    app = FastAPI(title="Assay verifier", docs_url=None, redoc_url=None, openapi_url=None)
    # One request at a time: together they would only be slower, and need more memory.
    busy = threading.Lock()

    @app.get("/health")
    def health() -> Response:
        return Response()

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/models")
    def models() -> dict[str, object]:
        return {"object": "list", "data": [{"id": name, "object": "model", "owned_by": "assay"}]}

    @app.post("/score")
    @app.post("/v1/score")
    def score(request: ScoreRequest) -> dict[str, object]:
        if request.model not in (None, name):
            raise HTTPException(404, f"the model {request.model!r} is not served, {name!r} is")
        try:
            tokens = [pair_tokens(verifier.tokenizer, *p, max_tokens) for p in request.pairs()]
        except PairTooLongError as error:
            raise HTTPException(400, str(error)) from None
        with busy, SECONDS.time():
            scores = verifier.scores(tokens)
        return _answer(name, tokens, scores)

    return app


def _answer(name: str, pairs: Sequence[PairTokens], scores: Sequence[float]) -> dict[str, object]:
    num_tokens = sum(len(pair.ids) for pair in pairs)
    num_cut = sum(pair.num_cut_tokens > 0 for pair in pairs)
    PAIRS.inc(len(pairs))
    TOKENS.inc(num_tokens)
    if num_cut:
        num_cut_tokens = sum(pair.num_cut_tokens for pair in pairs)
        CUT.inc(num_cut)
        CUT_TOKENS.inc(num_cut_tokens)
        _LOG.warning("cut evidence: pairs=%d of=%d tokens=%d", num_cut, len(pairs), num_cut_tokens)
    return {
        "object": "list",
        "created": int(time.time()),
        "model": name,
        "data": [{"index": i, "object": "score", "score": s} for i, s in enumerate(scores)],
        "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens, "cut_pairs": num_cut},
    }


def serve(verifier: Hhem, name: str, max_tokens: int, host: str, port: int) -> None:
    """Serve until this process is told to end."""
    import uvicorn

    app = verifier_app(verifier, name, max_tokens)
    _LOG.info("serving verifier: name=%s host=%s port=%d", name, host, port)
    # Probes and Prometheus ask every few seconds, which is no news.
    uvicorn.run(app, host=host, port=port, access_log=False, log_level="warning")
