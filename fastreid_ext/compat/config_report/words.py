"""What a config of FastReID would do here, in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastreid_ext.compat.config_report.facts import LOSSES, SAMPLERS_OF_IDENTITIES
from fastreid_ext.compat.config_report.network import Network
from fastreid_ext.compat.config_report.old_config import OldConfig
from fastreid_ext.compat.config_report.timeline import timeline
from fastreid_ext.compat.config_report.unread import unread_keys
from fastreid_ext.config import AUTO

__all__ = ["words"]

_POOLING = {
    "GlobalAvgPool": "average pooling",
    "FastGlobalAvgPool": "average pooling",
    "GlobalMaxPool": "maximum pooling",
    "AdaptiveAvgMaxPool": "average plus maximum pooling",
    "ClipGlobalAvgPool": "average pooling clipped to [0, 1]",
    "GeneralizedMeanPooling": "generalised-mean pooling (p 3)",
    "GeneralizedMeanPoolingP": "generalised-mean pooling (p learned)",
    "Identity": "no pooling",
}

_AUGMENTATIONS = {
    "CROP": "random crop",
    "PADDING": "padding",
    "FLIP": "flip",
    "CJ": "colour jitter",
    "AFFINE": "affine",
    "AUTOAUG": "AutoAugment",
    "AUGMIX": "AugMix",
    "REA": "random erasing",
    "RPT": "random patch",
}


@dataclass(frozen=True)
class _Data:
    """Training images here and in FastReID, 0 where that is not known, in batches."""

    here: int
    there: int
    batch: int

    def iterations(self, count: Callable[[int], str]) -> str:
        """What follows from the iterations of an epoch, FastReID's in brackets where it is other; "" if not known."""
        if not self.there // max(1, self.batch):
            return ""
        here, there = (count(images // self.batch) for images in (self.here, self.there))
        return here if here == there else f"{here} (FastReID: {there})"


def words(old: OldConfig, network: Network, *, published: bool = False) -> dict[str, str]:
    """Sentences by topic.

    Args:
        old: a config of FastReID.
        network: what its modern form builds here.
        published: whether the images are FastReID's where ours are others.
    """
    data = _Data(old.images if published else old.images_here, old.images, old.cfg.SOLVER.IMS_PER_BATCH)
    return {
        "Network": _network(old),
        "Head": _head(old, network),
        "Losses": _losses(old),
        "Data": _data(old, data),
        "Images": _images(old),
        "Batches": _batches(old, data),
        "Training": _training(old, data),
        "Rate": _rate(old, data),
        "Evaluation": _evaluation(old),
    }


def _network(old: OldConfig) -> str:
    backbone, family = old.cfg.MODEL.BACKBONE, old.family
    ignored = {unread.key.rpartition(".")[2] for unread in unread_keys(old) if unread.key.startswith("MODEL.BACKBONE")}
    title = f"{family.title} {backbone.DEPTH.removesuffix('x')}" if family else f"{backbone.NAME} {backbone.DEPTH}"
    options = {"WITH_IBN": "IBN-a", "WITH_SE": "squeeze-and-excitation", "WITH_NL": "non-local blocks"}
    parts = [text for key, text in options.items() if backbone[key] and key not in ignored]
    if "LAST_STRIDE" not in ignored and family is not None:
        parts.append(f"last stride {backbone.LAST_STRIDE}")
    if backbone.NORM != "BN" and "NORM" not in ignored:
        parts.append(backbone.NORM)
    parts.append("ImageNet weights" if backbone.PRETRAIN else "from random weights")
    whole = f"{title}, {', '.join(parts)}"
    arch = old.cfg.MODEL.META_ARCHITECTURE
    return whole if arch == "Baseline" else f"{arch} of {whole}"


def _head(old: OldConfig, network: Network) -> str:
    heads = old.cfg.MODEL.HEADS
    parts = [_POOLING.get(heads.POOL_LAYER, heads.POOL_LAYER)]
    if heads.NAME != "EmbeddingHead":
        parts.insert(0, heads.NAME)
    if heads.EMBEDDING_DIM:
        parts.append(f"reduced to {heads.EMBEDDING_DIM:,}")
    if heads.WITH_BNNECK:
        parts.append("batch-norm neck" if heads.NORM == "BN" else f"{heads.NORM} neck")
    margin = f" (margin {heads.MARGIN:g}, scale {heads.SCALE:g})" if heads.CLS_LAYER != "Linear" else ""
    parts.append(f"{heads.CLS_LAYER} classifier{margin}")
    if network.shapes:
        width = f"{network.embedding_dim:,} values an image; " if network.embedding_dim else ""
        parts.append(f"{width}{network.parameters / 1e6:.1f} million weights")
    return ", ".join(parts[:-1]) + (f"; {parts[-1]}" if network.shapes else f", {parts[-1]}")


def _losses(old: OldConfig) -> str:
    named = [_loss(old, name) for name in old.computed_losses]
    if old.cfg.MODEL.META_ARCHITECTURE == "MoCo":
        named.append("CosFace against the memory")
    if old.cfg.MODEL.META_ARCHITECTURE == "Distiller":
        named.append("divergence from the teachers' logits")
    seen = (
        f"; features {old.cfg.MODEL.HEADS.NECK_FEAT} the neck" if len(named) > 1 or "triplet" in "".join(named) else ""
    )
    return (" + ".join(named) or "none that FastReID computes") + seen


def _loss(old: OldConfig, name: str) -> str:
    losses = old.cfg.MODEL.LOSSES
    if name == "CrossEntropyLoss":
        ce = losses.CE
        smoothing = {True: f" smoothed by {ce.EPSILON:g}", False: " smoothed adaptively"}[ce.EPSILON >= 0]
        return _weighted(f"cross entropy{smoothing if ce.EPSILON else ''}", ce.SCALE)
    if name == "TripletLoss":
        tri = losses.TRI
        kind = "batch-hard" if tri.HARD_MINING else "softly weighted"
        margin = f"margin {tri.MARGIN:g}" if tri.MARGIN > 0 else "soft margin"
        return _weighted(f"{kind} triplet loss ({margin}{', normalised' if tri.NORM_FEAT else ''})", tri.SCALE)
    if name not in LOSSES:
        return name
    node, title = (losses.CIRCLE, "circle loss") if name == "CircleLoss" else (losses.COSFACE, "pair-wise CosFace")
    return _weighted(f"{title} (margin {node.MARGIN:g}, gamma {node.GAMMA:g})", node.SCALE)


def _weighted(text: str, scale: float) -> str:
    return text if scale == 1 else f"{scale:g} x {text}"


def _data(old: OldConfig, data: _Data) -> str:
    cfg = old.cfg
    identities = f" of {old.identities:,} identities" if old.identities else ""
    fewer = f"; FastReID: {data.there:,} images" if data.there != data.here else ""
    size = f" ({data.here:,} images{identities}{fewer})"
    also = ", with query and gallery" if cfg.DATASETS.COMBINEALL else ""
    trained, tested = " + ".join(cfg.DATASETS.NAMES), ", ".join(cfg.DATASETS.TESTS)
    return f"trains on {trained}{also}{size if data.here else ''}; tested on {tested}"


def _images(old: OldConfig) -> str:
    inputs = old.cfg.INPUT
    size = "x".join(map(str, inputs.CROP.SIZE if inputs.CROP.ENABLED else inputs.SIZE_TRAIN))
    used = []
    for key, title in _AUGMENTATIONS.items():
        if inputs[key].ENABLED:
            number = inputs[key].get("PROB", inputs[key].get("SIZE"))
            used.append(f"{title} {number:g}" if isinstance(number, (int, float)) else title)
    return f"{size} (height x width); {', '.join(used) or 'no augmentation'}"


def _batches(old: OldConfig, data: _Data) -> str:
    batch, instances = old.cfg.SOLVER.IMS_PER_BATCH, old.cfg.DATALOADER.NUM_INSTANCE
    sampler = old.cfg.DATALOADER.SAMPLER_TRAIN
    pairs = f" = {batch // max(1, instances)} identities x {instances} images"
    steps = data.iterations(lambda steps: f"{steps:,} an epoch")
    whole = f"{batch} images{pairs if sampler in SAMPLERS_OF_IDENTITIES else ''} ({sampler})"
    return f"{whole}; {steps}" if steps else whole


def _training(old: OldConfig, data: _Data) -> str:
    solver = old.cfg.SOLVER
    # A config of ours may leave it to the size of the data.
    rate = "a rate by the size of the data" if solver.BASE_LR == AUTO else f"a rate of {solver.BASE_LR:g}"
    whole = data.iterations(lambda steps: f"{solver.MAX_EPOCH * steps:,} iterations")
    parts = [f"{solver.MAX_EPOCH} epochs{' = ' if whole else ''}{whole}", f"{solver.OPT} from {rate}"]
    decays = {solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_BIAS, solver.WEIGHT_DECAY_NORM}
    others = f" (biases {solver.WEIGHT_DECAY_BIAS:g}, norms {solver.WEIGHT_DECAY_NORM:g})" if len(decays) > 1 else ""
    parts.append(f"weight decay {solver.WEIGHT_DECAY:g}{others}")
    if old.cfg.MODEL.FREEZE_LAYERS and solver.FREEZE_ITERS:
        parts.append(f"{', '.join(old.cfg.MODEL.FREEZE_LAYERS)} frozen for {_iterations(data, solver.FREEZE_ITERS)}")
    if solver.AMP.ENABLED:
        parts.append("mixed precision")
    if solver.CLIP_GRADIENTS.ENABLED:
        parts.append(f"gradients clipped to {solver.CLIP_GRADIENTS.CLIP_VALUE:g}")
    return "; ".join(parts)


def _rate(old: OldConfig, data: _Data) -> str:
    solver, times = old.cfg.SOLVER, timeline(old)
    parts = []
    if solver.WARMUP_ITERS:
        warmup = f"{solver.WARMUP_METHOD} warm-up from {solver.WARMUP_FACTOR:g} times it"
        parts.append(f"{warmup} in {_iterations(data, solver.WARMUP_ITERS)}")
    if solver.SCHED == "MultiStepLR":
        late = (
            f" (FastReID: {', '.join(str(step + times.shift) for step in solver.STEPS)})"
            if times and times.late
            else ""
        )
        parts.append(f"x {solver.GAMMA:g} after epochs {', '.join(map(str, solver.STEPS))}{late}")
    elif solver.SCHED == "CosineAnnealingLR":
        late = f" (FastReID: {times.shift})" if times and times.late else ""
        parts.append(
            f"cosine from epoch {solver.DELAY_EPOCHS}{late} to {solver.MAX_EPOCH}, down to {solver.ETA_MIN_LR:g}"
        )
    return "; ".join(parts) or "constant"


def _iterations(data: _Data, count: int) -> str:
    epochs = data.iterations(lambda steps: f"{count / steps:.1f} epochs")
    return f"{count:,} iterations" + (f" = {epochs}" if epochs else "")


def _evaluation(old: OldConfig) -> str:
    test = old.cfg.TEST
    extras = {"FLIP": "flip test", "AQE": "query expansion", "RERANK": "re-ranking", "ROC": "ROC"}
    used = [title for key, title in extras.items() if test[key].ENABLED]
    when = f"every {test.EVAL_PERIOD} epochs" if test.EVAL_PERIOD else "at the end"
    return ", ".join([when, f"{test.METRIC} distance", *used])
