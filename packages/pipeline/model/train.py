"""Trains the purchase-intent model, or with --check trains it again and compares with what is committed.

Reads local/data/online-shoppers.csv.gz. Writes, beside this file: purchase-intent.onnx, model.json (id, version,
features in order, sha256 of the ONNX file, metrics), expected-scores.csv.gz (scikit-learn's own score of every row,
not ONNX's) and the measured part of model-card.md. Nothing of this is needed to run Weft.
"""

import argparse
import csv
import gzip
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from trees_to_onnx import trees_to_onnx

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[2] / "local" / "data" / "online-shoppers.csv.gz"
DATA_SHA256 = "f478bab98d0a47125518aab1a3c3cf1e3527b31bb06aa27bd0cc0b93e0a11185"
MODEL_ID, VERSION, SEED, HELD_OUT = "purchase-intent", "1.0.0", 7, 0.3
# The same list as src/feature-names.ts.
FEATURES = [
    "administrative_pages", "administrative_seconds", "informational_pages", "informational_seconds",
    "product_pages", "product_seconds", "special_day", "month", "weekend", "returning", "traffic_source",
]  # fmt: skip
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "June", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
THRESHOLDS = [0.1, 0.2, 0.3, 0.4, 0.5]
START, END = "<!-- measured by train.py -->", "<!-- end of what train.py measured -->"
# A different processor or BLAS may round the last bits otherwise.
TOLERANCE = 1e-6


def seconds(text):
    """Whole milliseconds, as the tracker's clock gives them, in seconds."""
    return np.floor(float(text) * 1000 + 0.5) / 1000


def load():
    """The features of every row as float32, the three columns no session can know of itself, and the labels."""
    raw = gzip.decompress(DATA.read_bytes())
    if hashlib.sha256(raw).hexdigest() != DATA_SHA256:
        sys.exit(f"{DATA.name} is not the data set this model is trained on: its SHA-256 differs from {DATA_SHA256}")
    rows = list(csv.reader(raw.decode().splitlines()))
    features = [
        [int(r[0]), seconds(r[1]), int(r[2]), seconds(r[3]), int(r[4]), seconds(r[5]), float(r[9]),
         MONTHS.index(r[10]) + 1, r[16] == "TRUE", r[15] == "Returning_Visitor", int(r[14])]
        for r in rows
    ]  # fmt: skip
    unknowable = [[float(r[6]), float(r[7]), float(r[8])] for r in rows]
    return np.array(features, np.float32), np.array(unknowable, np.float32), np.array([r[17] == "TRUE" for r in rows])


def fit(features, labels):
    model = HistGradientBoostingClassifier(
        max_iter=150, max_depth=4, learning_rate=0.05, early_stopping=False, random_state=SEED
    )
    # One thread: sums are then taken in the same order every time.
    with threadpool_limits(1):
        return model.fit(features, labels)


def score(model, features):
    with threadpool_limits(1):
        return model.predict_proba(features)[:, 1]


def measure(labels, scores):
    """What the card states, all of it on rows the model was not trained on."""
    order = np.array_split(np.argsort(scores, kind="stable"), 10)
    calibration = [{"mean_score": scores[tenth].mean(), "purchases": labels[tenth].mean()} for tenth in order]
    thresholds = []
    for threshold in THRESHOLDS:
        flagged = scores >= threshold
        hits = int((flagged & labels).sum())
        thresholds.append({
            "threshold": threshold,
            "flagged": flagged.mean(),
            "precision": hits / max(1, int(flagged.sum())),
            "recall": hits / int(labels.sum()),
        })  # fmt: skip
    return rounded({
        "rows": len(labels),
        "purchase_rate": labels.mean(),
        "roc_auc": roc_auc_score(labels, scores),
        "pr_auc": average_precision_score(labels, scores),
        "log_loss": log_loss(labels, scores),
        "brier": brier_score_loss(labels, scores),
        "calibration_error": sum(abs(c["mean_score"] - c["purchases"]) for c in calibration) / 10,
        "calibration": calibration,
        "thresholds": thresholds,
    })  # fmt: skip


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return round(float(value), 6) if isinstance(value, float) else value


def measured_section(metrics, with_unknowable):
    lines = [
        START,
        "",
        f"On the {metrics['rows']:,} held-out sessions, {metrics['purchase_rate']:.1%} of which end in a purchase:",
        "",
        "| measure | this model | the data set's README |",
        "|---|---|---|",
        f"| area under the ROC curve, these 11 columns | {metrics['roc_auc']:.3f} | 0.769 |",
        f"| the same with bounce rate, exit rate and page value added (not shipped) | {with_unknowable:.3f} | 0.923 |",
        f"| area under the precision-recall curve (by chance: {metrics['purchase_rate']:.3f}) | {metrics['pr_auc']:.3f} | |",
        f"| log loss | {metrics['log_loss']:.4f} | |",
        f"| Brier score | {metrics['brier']:.4f} | |",
        f"| mean calibration error over tenths | {metrics['calibration_error']:.4f} | |",
        "",
        "Calibration, held-out sessions sorted by score and cut into tenths:",
        "",
        "| tenth | mean score | ended in a purchase |",
        "|---|---|---|",
        *(f"| {n + 1} | {c['mean_score']:.3f} | {c['purchases']:.3f} |" for n, c in enumerate(metrics["calibration"])),
        "",
        "What a threshold gives on the held-out sessions, at their end:",
        "",
        "| threshold | sessions at or above | precision | recall |",
        "|---|---|---|---|",
        *(f"| {t['threshold']} | {t['flagged']:.1%} | {t['precision']:.1%} | {t['recall']:.1%} |" for t in metrics["thresholds"]),
        "",
        END,
    ]
    return "\n".join(lines)


def train():
    features, unknowable, labels = load()
    rows = np.arange(len(labels))
    kept, held_out = train_test_split(rows, test_size=HELD_OUT, stratify=labels, random_state=SEED)
    model = fit(features[kept], labels[kept])
    scores = score(model, features)
    metrics = measure(labels[held_out], scores[held_out])
    wide = np.hstack([features, unknowable])
    wide_scores = score(fit(wide[kept], labels[kept]), wide[held_out])
    card = measured_section(metrics, roc_auc_score(labels[held_out], wide_scores))
    onnx_bytes = trees_to_onnx(model, MODEL_ID, VERSION, len(FEATURES))
    description = {
        "id": MODEL_ID,
        "version": VERSION,
        "file": "purchase-intent.onnx",
        "sha256": hashlib.sha256(onnx_bytes).hexdigest(),
        "features": FEATURES,
        "training": {"data": DATA.name, "data_sha256": DATA_SHA256, "rows": len(kept), "seed": SEED},
        "metrics": metrics,
    }
    return onnx_bytes, description, scores, card


def write(onnx_bytes, description, scores, card):
    (HERE / description["file"]).write_bytes(onnx_bytes)
    (HERE / "model.json").write_text(json.dumps(description, indent=2) + "\n")
    text = "row,score\n" + "".join(f"{row},{value:.9f}\n" for row, value in enumerate(scores))
    (HERE / "expected-scores.csv.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    path = HERE / "model-card.md"
    before, _, rest = path.read_text().partition(START)
    path.write_text(before + card + rest.partition(END)[2])


def differences(onnx_bytes, description, scores, card):
    """One sentence for everything committed that this training does not confirm."""
    committed = json.loads((HERE / "model.json").read_text())
    file = (HERE / committed["file"]).read_bytes()
    if hashlib.sha256(file).hexdigest() != committed["sha256"]:
        yield f"{committed['file']} is not the file model.json was written for: its SHA-256 differs"
    for name in ("id", "version", "features", "training"):
        if committed[name] != description[name]:
            yield f"model.json: {name} is {committed[name]}, training gives {description[name]}"
    yield from unlike("metrics", committed["metrics"], description["metrics"])
    lines = gzip.decompress((HERE / "expected-scores.csv.gz").read_bytes()).decode().splitlines()[1:]
    expected = np.array([float(line.split(",")[1]) for line in lines])
    if len(expected) != len(scores):
        yield f"expected-scores.csv.gz has {len(expected)} rows, the data set {len(scores)}"
    elif (worst := np.abs(expected - scores).max()) > TOLERANCE:
        yield f"expected-scores.csv.gz differs from this training's scores by up to {worst:.2e}"
    if card not in (HERE / "model-card.md").read_text():
        yield "model-card.md does not state what this training measured"
    print("The ONNX file is", "the same byte for byte" if file == onnx_bytes else "not the same byte for byte")


def unlike(path, committed, now):
    if isinstance(now, dict):
        for key in now:
            yield from unlike(f"{path}.{key}", (committed or {}).get(key), now[key])
    elif isinstance(now, list):
        for index, each in enumerate(now):
            yield from unlike(f"{path}[{index}]", committed[index] if index < len(committed or []) else None, each)
    elif committed is None or abs(committed - now) > TOLERANCE:
        yield f"model.json: {path} is {committed}, training gives {now}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if what is committed differs")
    result = train()
    print(f"held-out ROC AUC {result[1]['metrics']['roc_auc']:.4f}, PR AUC {result[1]['metrics']['pr_auc']:.4f}")
    if parser.parse_args().check:
        found = list(differences(*result))
        print("\n".join(found) or "Metrics, scores and card are the committed ones")
        sys.exit(1 if found else 0)
    write(*result)
