"""Trains the artefact of reading/predict.py on the routing sets, says how good it is on rows left out, and writes it.

scripts/train-router [--data DIR] [--out DIR] [--check]

Every (query, model) outcome is one observation of logit P = b(set, model) + ease(x) + reach(x) × (s(set, model) −
CENTRE), where s is the log-odds of the model's mean in that set. ease and reach are linear in hashed words, signals and
(second head) MiniLM vectors: a convex problem, solved by L-BFGS with a ridge. Same data and seed give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from routing_fit import weighted_words
from routing_regimes import FOLDS, SPLIT_SEED
from routing_sets import PAIRS, Floats, Indices, Table, UnreadableSet, load
from routing_views import Matrix, View, views, word_counts
from scipy import sparse
from scipy.optimize import minimize
from scipy.sparse.linalg import lsqr
from threadpoolctl import threadpool_limits

from orchestrator.core.reading import lexical, predict
from orchestrator.core.replay import evaluate

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "orchestrator" / "core" / "artefacts"
GRID = 200  # thresholds; with 400 a contract saves 0.05 points more (CONTRACTS.md)
BUCKETS = 1 << 15
RIDGE = {"words": 6.0, "signals": 30.0, "vectors": 6.0}
"""By cross-validation over all sets together; in units of observations."""
GAIN_RIDGE = {"words": 15.0, "signals": 50.0, "vectors": 40.0}
ITERATIONS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcomes:
    """All sets together: one row per query, one column per (set, model); NaN where a model was not asked."""

    quality: Floats
    strength: Floats
    weight: Floats
    gain: Floats
    """Strong − weak of the set's pair, less its mean over the set."""
    keys: tuple[str, ...]
    at: Mapping[str, Indices]


@dataclass(frozen=True, kw_only=True, slots=True)
class Design:
    """What is read of each query: unit word rows, standardised signals, and vectors for the full head."""

    words: sparse.csr_matrix
    signals: Floats
    vectors: Matrix | None

    def take(self, rows: Indices) -> Design:
        vectors = None if self.vectors is None else self.vectors[rows]
        return Design(words=self.words[rows], signals=self.signals[rows], vectors=vectors)

    def apply(self, weights: Mapping[str, Floats]) -> Floats:
        """(n, 2) or (n, 3): ease, reach, and where the weights have it the gain's difference from the mean."""
        total = self.words @ weights["words"].T + self.signals @ weights["signals"].T
        return np.asarray(total if self.vectors is None else total + self.vectors @ weights["vectors"].T)


def outcomes(tables: Mapping[str, Table]) -> Outcomes:
    """MT-Bench is left out: its grades from 1 to 10 are no shares of adequate answers."""
    used = [table for name, table in tables.items() if name != "mtbench" and table.models]
    columns = [(table.name, model) for table in used for model in table.models or ()]
    total = sum(map(len, used))
    quality, weight = np.full((total, len(columns)), np.nan), np.zeros((total, 1))
    at, start = {}, 0
    for table in used:
        rows = np.arange(start, start + len(table))
        at[table.name], start = rows, start + len(table)
        for column, (name, model) in enumerate(columns):
            if name == table.name and table.models is not None:
                quality[rows, column] = table.models[model]
        # A set weighs by the root of its observations: MMLU-Pro alone would else be half of everything.
        weight[rows] = 1 / np.sqrt(len(table) * len(table.models or ()))
    share = np.clip(np.nanmean(quality, axis=0), 0.02, 0.98)
    keys = tuple(key for table in used for key in table.split_keys)
    scale = np.isfinite(quality).sum() / (np.isfinite(quality) * weight).sum()
    gain = np.concatenate([table.gain - table.gain.mean() for table in used])
    return Outcomes(
        gain=gain, quality=quality, strength=np.log(share / (1 - share)), weight=weight * scale, keys=keys, at=at
    )


def fit(design: Design, known: Outcomes, rows: Indices) -> dict[str, Floats]:
    """Weights of ease and reach by part, each of shape (2, columns)."""
    part, quality, weight = design.take(rows), known.quality[rows], known.weight[rows]
    asked = np.isfinite(quality)
    target, observed = np.where(asked, quality, 0.0), asked * weight
    strength = known.strength - predict.CENTRE
    shapes = {"words": design.words.shape[1], "signals": design.signals.shape[1]}
    shapes |= {} if design.vectors is None else {"vectors": design.vectors.shape[1]}

    def unpacked(flat: Floats) -> tuple[Floats, dict[str, Floats]]:
        weights, start = {}, len(strength)
        for name, size in shapes.items():
            weights[name], start = flat[start : start + 2 * size].reshape(2, size), start + 2 * size
        return flat[: len(strength)], weights

    def loss(flat: Floats) -> tuple[float, Floats]:
        bias, weights = unpacked(flat)
        item = part.apply(weights)
        odds = bias + item[:, :1] + item[:, 1:] * strength
        value = float((observed * (np.logaddexp(0, odds) - target * odds)).sum())
        slope = observed * (1 / (1 + np.exp(-odds)) - target)
        by_item = np.stack([slope.sum(axis=1), slope @ strength], axis=1)
        gradient = [slope.sum(axis=0) + 0.01 * (bias - known.strength)]
        value += 0.005 * float(((bias - known.strength) ** 2).sum())
        for name, each in weights.items():
            columns = getattr(part, name)
            gradient.append((np.asarray((columns.T @ by_item).T) + RIDGE[name] * each).ravel())
            value += 0.5 * RIDGE[name] * float((each**2).sum())
        return value, np.concatenate(gradient)

    start = np.concatenate([known.strength, np.zeros(2 * sum(shapes.values()))])
    solved = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS, "maxfun": ITERATIONS})
    found = unpacked(solved.x)[1]
    gain = fit_gain(design, known, rows)
    return {name: np.vstack([each, gain[name]]) for name, each in found.items()}


def fit_gain(design: Design, known: Outcomes, rows: Indices) -> dict[str, Floats]:
    """A third row of weights: how far the gain of the stronger model of a set's pair is from that set's mean gain.

    Measured: the gain that follows from ease and reach alone orders queries worse (mean APGR 0.55), for what makes
    better models better differs from set to set, and topics say it more directly.
    """
    part, target = design.take(rows), known.gain[rows]
    weight = known.weight[rows, 0] / known.weight[rows, 0].mean()
    columns = {"words": part.words, "signals": part.signals}
    columns |= {} if part.vectors is None else {"vectors": part.vectors}
    scaled = sparse.hstack(
        [sparse.csr_matrix(each) / np.sqrt(GAIN_RIDGE[name]) for name, each in columns.items()], format="csr"
    )
    root = np.sqrt(weight)
    solved = lsqr(sparse.diags(root) @ scaled, root * target, damp=1.0, iter_lim=ITERATIONS)[0]
    found, start = {}, 0
    for name, each in columns.items():
        size = each.shape[1]
        found[name] = solved[None, start : start + size] / np.sqrt(GAIN_RIDGE[name])
        start += size
    return found


def check(tables: Mapping[str, Table], design: Design, known: Outcomes) -> dict[str, Any]:
    """Cross-validated figures per set; one artefact is trained on the other folds of all sets together."""
    keys, at = np.unique(known.keys, return_inverse=True)
    part = (np.random.default_rng(SPLIT_SEED).permutation(len(keys)) % FOLDS)[at]
    item = np.empty((len(part), 3))
    for fold in range(FOLDS):
        rows, held = np.flatnonzero(part != fold), np.flatnonzero(part == fold)
        weights = fit(design, known, rows)
        item[held] = design.take(held).apply(weights) - _mean(design, weights, rows)
    return {name: _graded(tables[name], item[rows]) for name, rows in known.at.items()}


def _mean(design: Design, weights: Mapping[str, Floats], rows: Indices) -> Floats:
    return np.asarray(design.take(rows).apply(weights).mean(axis=0))


def _graded(table: Table, item: Floats) -> dict[str, float]:
    """APGR and calibration of the predicted gain, AUROC of the weak model's P(adequate), and its calibration once
    the model's own labels have moved its ability from its mean."""
    assert table.weak is not None
    assert table.strong is not None
    readings = [predict.Reading(ease=float(row[0]), reach=float(row[1]), gain=float(row[2])) for row in item]
    able = []
    for quality in (table.weak, table.strong):
        prior = predict.ability(float(quality.mean()))
        able.append(predict.adapted(prior, list(zip(readings, quality.tolist(), strict=True))))
    p_weak = np.array([predict.p_adequate(each, able[0]) for each in readings])
    gains = [predict.gain(each, weak=able[0], strong=able[1]) for each in readings]
    return {
        "n": len(table),
        "apgr": round(evaluate.apgr(table.weak, table.strong, gains), 4),
        "calibration_error_gain": round(evaluate.calibration_error(gains, table.gain), 4),
        "auroc_weak": round(evaluate.auroc(table.weak > 0.5, p_weak), 4),
        "calibration_error_weak": round(evaluate.calibration_error(p_weak, table.weak), 4),
    }


def designs(tables: Mapping[str, Table], views: Mapping[str, View]) -> tuple[Design, Design, dict[str, Any]]:
    """The fast and the full design over all rows, and what run time needs to build the same from a text."""
    names = [name for name in tables if name != "mtbench"]
    counts = word_counts([query for name in names for query in tables[name].queries], BUCKETS)
    found = np.bincount(counts.indices, minlength=BUCKETS)
    weights = np.where(found < 2, 0.0, np.log((1 + counts.shape[0]) / (1 + found)) + 1).astype(np.float16)
    words, _ = weighted_words(counts, counts[:1])
    signals = np.vstack([views[name].query.signals for name in names])
    mean, deviation = signals.mean(axis=0), signals.std(axis=0) + 1e-6
    standard = np.clip((signals - mean) / deviation, -4, 4)
    vectors = np.vstack([views[name].query.vectors for name in names])
    fast = Design(words=words, signals=standard, vectors=None)
    full = Design(words=words, signals=standard, vectors=vectors)
    return fast, full, {"weights": weights, "mean": mean.astype("f4"), "deviation": deviation.astype("f4")}


def packed(design: Design, weights: Mapping[str, Floats], name: str) -> dict[str, Any]:
    """A head's arrays: words in 255 steps per row, the rest in half precision, centred so that a mean query is 0."""
    steps = np.abs(weights["words"]).max(axis=1) / 127
    arrays = {
        "words": np.round(weights["words"] / steps[:, None]).astype(np.int8),
        "steps": steps.astype(np.float32),
        "signals": weights["signals"].astype(np.float32),
        "bias": -_mean(design, weights, np.arange(design.words.shape[0])).astype(np.float32),
    }
    if "vectors" in weights:
        arrays["vectors"] = weights["vectors"].astype(np.float16)
    return {f"{name}_{part}": each for part, each in arrays.items()}


def grid(design: Design, weights: Mapping[str, Floats], rows: Indices) -> Floats:
    """Quantiles of the gain that the fast head gives these queries: thresholds that no later label had a say in."""
    gains = (design.apply(weights) - _mean(design, weights, rows))[:, 2]
    return np.quantile(gains, (np.arange(GRID) + 0.5) / GRID).astype(np.float64)


def artefact(facts: Mapping[str, Any], arrays: Mapping[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, facts=np.array(json.dumps(facts, sort_keys=True)), **arrays)
    return file.getvalue()


def main() -> int:
    asked = _arguments()
    threadpool_limits(1)
    try:
        tables = load(asked.data)
    except UnreadableSet as error:
        print(f"scripts/train-router: {error}", file=sys.stderr)
        return 2
    read = views(tables, asked.cache, _say)
    fast, full, shared = designs(tables, read)
    known = outcomes(tables)
    figures = {"fast": check(tables, fast, known), "full": check(tables, full, known)}
    print(json.dumps(figures, indent=1))
    if asked.check:
        return 0
    everything = np.arange(fast.words.shape[0])
    arrays, weights = dict(shared), fit(fast, known, everything)
    arrays |= packed(fast, weights, "fast") | packed(full, fit(full, known, everything), "full")
    arrays["grid"] = grid(fast, weights, everything)
    facts = {
        "format": predict.FORMAT,
        "signals": list(lexical.SIGNALS),
        "version": _version(arrays),
        "sets": {name: len(rows) for name, rows in known.at.items()},
    }
    _write(asked.out, artefact(facts, arrays), facts, figures)
    return 0


def _version(arrays: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()[:12]


def _write(folder: Path, data: bytes, facts: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "router.npz").write_bytes(data)
    sheet = {
        "file": "router.npz",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "version": facts["version"],
        "trained_by": "scripts/train-router",
        "trained_on": {name: {"queries": count, "weak": PAIRS[name][0]} for name, count in facts["sets"].items()},
        "licences": "Apache-2.0 and MIT (RouteLLM, MMLU-Pro, ZeroEval, LLMRouter, RouterArena); weights only, no text",
        "cross_validated": figures,
        "limits": "English benchmark questions of 2024 models; little of what it knows transfers to other kinds of "
        "traffic (out of domain APGR is about 0.56): certify it on your own labels before you trust it.",
    }
    (folder / "router.json").write_text(json.dumps(sheet, indent=1) + "\n", encoding="utf-8")
    print(f"{folder / 'router.npz'}: {len(data):,} bytes, version {facts['version']}")


def _say(words: str) -> None:
    print(words, file=sys.stderr)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/train-router", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = os.environ.get("PENNYROUTE_ROUTING_DATA", str(ROOT.parent / "shared" / "routing"))
    cache = os.environ.get("PENNYROUTE_ROUTING_CACHE", str(Path.home() / ".cache" / "pennyroute" / "routing"))
    parser.add_argument("--data", type=Path, default=Path(data), help="folder of the sets, or of their dev/")
    parser.add_argument("--cache", type=Path, default=Path(cache), help="folder for MiniLM vectors, by text hash")
    parser.add_argument("--out", type=Path, default=OUT, help="where router.npz and its datasheet go")
    parser.add_argument("--check", action="store_true", help="cross-validated figures only; writes nothing")
    asked = parser.parse_args()
    if (asked.data / "dev").is_dir():
        asked.data = asked.data / "dev"
    return asked


if __name__ == "__main__":
    sys.exit(main())
