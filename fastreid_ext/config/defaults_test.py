"""`TEST`: evaluation."""

from __future__ import annotations

from fastreid_ext.config.node import CfgNode

__all__ = ["test_defaults"]


def test_defaults() -> CfgNode:
    """A new copy of `TEST`."""
    test = CfgNode()
    # Epochs between evaluations; 0 evaluates at the end only.
    test.EVAL_PERIOD = 20
    # Also evaluate the untrained model (new).
    test.EVAL_UNTRAINED = False
    # Images of a forward pass.
    test.IMS_PER_BATCH = 64
    # What turns features into figures: ReidEvaluator, RetrievalEvaluator, ClasEvaluator, or a registered one (new).
    test.EVALUATOR = "ReidEvaluator"
    # By which embeddings are compared: cosine or euclidean.
    test.METRIC = "cosine"
    # Metric of the first test set by which model_best.pth is chosen: mAP, mINP, Rank-1, ... or, as RetrievalEvaluator
    # names them, Recall@1, MAP@R, ..., or ClasEvaluator's Acc@1 (new).
    test.BEST_METRIC = "mAP"
    # Leave unreadable images out of the evaluation instead of failing at its end (new).
    test.SKIP_UNREADABLE = False
    # Verification: TPR at FPR 1e-4, 1e-3 and 1e-2.
    test.ROC = CfgNode()
    # Turn it on.
    test.ROC.ENABLED = False
    # Features averaged over each image and its mirror image.
    test.FLIP = CfgNode()
    # Turn it on.
    test.FLIP.ENABLED = False
    _add_strategies(test)
    _add_rankings(test)
    # Of RetrievalEvaluator: the K of Recall@K (new).
    test.RECALLS = [1, 2, 4, 8]
    # Of RetrievalEvaluator: normalised mutual information of identities and clusters (new).
    test.NMI = CfgNode()
    # Cluster all features for it (new).
    test.NMI.ENABLED = False
    # Batch-norm statistics averaged over training batches ahead of each evaluation.
    test.PRECISE_BN = CfgNode()
    # Turn it on.
    test.PRECISE_BN.ENABLED = False
    # Of FastReID's files; nothing reads it: batches are those of the training.
    test.PRECISE_BN.DATASET = "Market1501"
    # Batches to average over.
    test.PRECISE_BN.NUM_ITER = 300
    return test


def _add_strategies(test: CfgNode) -> None:
    # Features of length 1 plus BETA times the features as they are, for TEST.METRIC euclidean (new).
    test.BETA_NORM = CfgNode()
    # Turn it on (new).
    test.BETA_NORM.ENABLED = False
    # Weight of the features as they are (new).
    test.BETA_NORM.BETA = 0.004
    # In place of the head's pooling: ALPHA times the maximum plus 1 - ALPHA times the mean (new).
    test.MIXED_POOL = CfgNode()
    # Turn it on (new).
    test.MIXED_POOL.ENABLED = False
    # Weight of the maximum (new).
    test.MIXED_POOL.ALPHA = 0.5
    # In place of the backbone's last ReLU: one that passes SLOPE times what is negative (new).
    test.LEAKY_RELU = CfgNode()
    # Turn it on (new).
    test.LEAKY_RELU.ENABLED = False
    # Of what is negative (new).
    test.LEAKY_RELU.SLOPE = 0.5
    # More checkpoints than MODEL.WEIGHTS, whose features are set side by side; with --eval-only (new).
    test.ENSEMBLE = []


def _add_rankings(test: CfgNode) -> None:
    # Average query expansion: features averaged over their nearest neighbours.
    test.AQE = CfgNode()
    # Add a row with it to the results.
    test.AQE.ENABLED = False
    # Weights are similarities to this power; 0 for equal ones.
    test.AQE.ALPHA = 3.0
    # How often, each time from the features of the time before.
    test.AQE.QE_TIME = 1
    # Neighbours, the feature itself among them.
    test.AQE.QE_K = 5
    # k-reciprocal re-ranking.
    test.RERANK = CfgNode()
    # Add a row with it to the results.
    test.RERANK.ENABLED = False
    # Size of the neighbourhoods.
    test.RERANK.K1 = 20
    # Images that an encoding is averaged over.
    test.RERANK.K2 = 6
    # Share of the distance before.
    test.RERANK.LAMBDA = 0.3
    # paper, released (its authors' code) or fastreid (new).
    test.RERANK.VARIANT = "paper"
    # Index that finds the neighbours: flat, ivf, hnsw or ivfpq, for very many images; empty for the exact search (new).
    test.RERANK.INDEX = ""
