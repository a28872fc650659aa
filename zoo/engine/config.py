"""The configurations of training and measuring: YAML files whose keys can all be overridden on the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from zoo.data.point_transforms import Axis, PointAugmentation
from zoo.data.sampling import WINDOW
from zoo.data.video import Decoder
from zoo.errors import InputError
from zoo.weights import IMAGENET_MEAN, IMAGENET_STD

DataName = Literal[
    "auto",
    "videos",
    "clouds",
    "scenes",
    "fights",
    "fingertip",
    "direction",
    "tabletop",
    "isprs",
    "radhar",
    "modelnet40",
    "scanobjectnn",
    "shapenet_part",
    "s3dis",
    "kitti",
]


ANY = float("inf")
LEAST = 1e-6  # of what is divided by, or shrinks a picture


def _check_ranges(group: str, config: Any, **ranges: tuple[float, float]) -> None:
    """See that numbers of ``config``, or those of a list, are in their ranges, ends included; None is what is usual.

    Raises:
        InputError: one is not.
    """
    for key, (low, high) in ranges.items():
        value = getattr(config, key)
        numbers = value if isinstance(value, list | tuple) else [value]
        if not all(number is None or low <= number <= high for number in numbers):
            wanted = f"{low:g} or more" if high == ANY else f"{low:g} to {high:g}"
            raise InputError(
                f"{group}{key} is {value}: give {'numbers' if numbers is value else 'a number'} of {wanted}"
            )


@dataclass
class InitConfig:
    """Where training starts.

    Args:
        weights: a checkpoint, or a quantised ImageNet MobileNetV2 (.npz), which was trained with `tf_padding` in
            `model_args`, with `data.mean` and `data.std` of a half, and wants `optim.batch_norm` frozen; "auto" takes
            timm's ImageNet weights for a video model, from the Hub, and nothing for a point model; "none" nothing.
        batch_norms: take the batch normalisations of a checkpoint too, and not only its other layers; false suits
            pictures that are very unlike those that it was trained on.
    """

    weights: str = "auto"
    batch_norms: bool = True


@dataclass
class AugmentConfig:
    """How samples are varied in training; the sets in one file vary theirs themselves.

    Args:
        multi_scale_crop: of videos, cut a random part of four sizes (TSN, section 3.3) instead of the middle or,
            with `data.whole_frame`, the whole.
        mirror: of videos, mirror every second clip; classes that name left and right exchange.
        color_jitter: of videos, the largest change of brightness, contrast and saturation.
        randaugment: of videos, operations of RandAugment.
        points: of clouds, one after another: "rotate" about the upright axis, "scale", "stretch" (a scale for every
            axis), "translate", "flip", "jitter", "drop" points of whole clouds, "drop_color".
        up: of clouds, the upright axis.
    """

    multi_scale_crop: bool = False
    mirror: bool = False
    color_jitter: float = 0.0
    randaugment: int = 0
    points: list[PointAugmentation] = field(default_factory=list)
    up: Axis = "z"

    def __post_init__(self) -> None:
        _check_ranges("data.augment.", self, color_jitter=(0, 1), randaugment=(0, ANY))


@dataclass
class DrawConfig:
    """How the tracks of "fingertip" and "direction" become clips.

    Args:
        styles: a moving "dot" or a growing "stroke".
        scale: the least and the largest multiple of its own scale at which a track is drawn.
        plain: the share of clips that are drawn in black and white, without noise.
    """

    styles: list[Literal["dot", "stroke"]] = field(default_factory=lambda: ["dot", "stroke"])
    scale: tuple[float, float] = (0.9, 3.2)
    plain: float = 0.4

    def __post_init__(self) -> None:
        _check_ranges("data.draw.", self, scale=(LEAST, ANY), plain=(0, 1))


@dataclass
class DataConfig:
    """What is learnt, and what it is measured on.

    Args:
        name: the data set. "videos" and "clouds" are one's own, in folders by class or as `layout` says, and "scenes"
            are clouds with a label for every point, in NPZ or HDF5 files with `points` and `labels` beside a
            classes.txt; "auto" is the one of them that the model takes. The others are described in the modules of
            zoo.data that bear their names.
        train: of one's own, the part to learn from; of "kitti", the list of its frames.
        val: the same of the part by which the best epoch is chosen; without it the last one counts.
        layout: of "videos" (files or folders of frames) and "clouds": "shards" for tar files such as
            "train-{000000..000012}.tar", on disk or at an address; of videos also
            "folders", "csv", "kinetics400" and so on; "auto" finds out, but for shards.
        train_part: of official sets whose annotations hold several parts, the one to learn from: of UCF101 and HMDB51
            "train1" to "train3", of Kinetics what the column `split` says.
        val_part: the same of `val`, such as "test1".
        videos: the folder of the videos, where `train` and `val` are lists.
        path: of the other sets, the file or folder.
        detections: of "kitti", where it is measured: a folder of what a detector found in the pictures, a file a frame
            in the form of labels with scores.
        fold: of "fights", "isprs" and "s3dis", the number of the part to test on: sources, sites, areas; 0 for none.
        hold_out_val: of these and the sets in one file, choose the best epoch on a validation part; false trains on
            that part too, once the settings are chosen, and takes the last epoch.
        num_frames: of a clip; by default 8, the 16 steps of a fingertip track, and in measuring what is usual for the
            model.
        image_size: side of the frames that the model sees, in pixels; by default 224, and 64 for fingertip tracks.
        whole_frame: of videos, scale the whole frame to the square that the model sees and cut nothing off.
        mean: of videos, what is subtracted from red, green and blue, as shares of 255; by default ImageNet's.
        std: by what they are divided then.
        frame_differences: of videos, show every frame's difference from the one before, scaled for each clip, instead
            of the frame; for cameras that stand still themselves. `mean` and `std` are not used then. Not of online
            models, which have not seen the whole clip.
        sampling: of videos, see `zoo.data.sampling`.
        decoder: of videos, "auto", "decord", "pyav" or "torchcodec" (an extra) for files, "frames" for nothing but
            folders of pictures; all but the last read such folders too.
        num_points: that the model sees at once; by default what is usual for the set, and in measuring for the model.
        features: of "clouds" and "scenes", what follows xyz.
        parts: of "scenes", how a large one is divided: "random" points of all of it, or "tiles" or "blocks" of what
            lies together on the map.
        samples_per_scene: in an epoch, of a scene, site or recording.
        augment: how samples are varied in training.
        draw: of fingertip tracks.
        bad_files: what is done about a file that cannot be read: "raise", "skip" it, or, in training, "resample"
            another one; more than one in a hundred end the run or the measurement.
        timeout: seconds after which a file counts as bad that is still being read; 0 waits.
        workers: processes that prepare samples; 0 prepares them in the training process.
    """

    name: DataName = "auto"
    train: str = ""
    val: str = ""
    layout: str = "auto"
    train_part: str = ""
    val_part: str = ""
    videos: str | None = None
    path: str = ""
    detections: str = ""
    fold: int = 0
    hold_out_val: bool = True
    num_frames: int | None = None
    image_size: int | None = None
    whole_frame: bool = False
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    frame_differences: bool = False
    sampling: Literal["uniform", "dense"] = "uniform"
    decoder: Decoder = "auto"
    num_points: int | None = None
    features: list[Literal["rgb", "normals", "intensity", "velocity", "time"]] = field(default_factory=list)
    parts: Literal["random", "tiles", "blocks"] = "random"
    samples_per_scene: int = 8
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    draw: DrawConfig = field(default_factory=DrawConfig)
    bad_files: Literal["raise", "skip", "resample"] = "raise"
    timeout: float = 0.0
    workers: int = 0

    def __post_init__(self) -> None:
        most_frames = WINDOW if self.sampling == "dense" else ANY
        one_or_more = dict.fromkeys(("image_size", "num_points", "samples_per_scene"), (1, ANY))
        none_or_more = dict.fromkeys(("fold", "timeout", "workers"), (0, ANY))
        _check_ranges("data.", self, num_frames=(1, most_frames), std=(LEAST, ANY), **one_or_more, **none_or_more)


@dataclass
class OptimConfig:
    """How it is learnt.

    Args:
        name: an optimizer of timm, such as "adamw", "momentum" (plain SGD), "sgd" (with Nesterov's momentum) or "lars"
            (for very large batches; what does not decay, as biases and normalisations, learns at the plain rate).
        lr: the highest learning rate.
        lr_batch_size: the batch for which `lr` is meant; with another it grows in proportion. 0 takes `lr` as it is.
        momentum: of SGD and LARS.
        weight_decay: on weights, not on biases and normalisations.
        groups: "plain", or "tsm" for the authors' groups: the classifier at five times the rate, biases at twice.
        layer_decay: of video models, by how much the rate falls from each block to the one before it; 1 does not.
        schedule: how the rate falls after the warm-up: "cosine" to zero, "step" by `gamma` at `milestones`, "constant".
        warmup: the share of the steps in which the learning rate rises.
        milestones: shares of the steps at which "step" lowers the rate.
        gamma: by what it does so.
        label_smoothing: of the cross entropy.
        class_weights: how much each class counts in the loss; by default all count the same.
        mixup: of videos, mix two clips and their labels by shares from Beta(mixup, mixup); 0 for none. With cutmix too,
            one of both is drawn for every pass.
        cutmix: of videos, put a rectangle of one clip into all frames of another, of a size from Beta(cutmix, cutmix).
        mutual: how many networks learn from each other beside the labels (deep mutual learning); the first is kept.
        grad_clip: the largest norm of the gradient; 0 does not clip.
        accumulate: in how many parts a step's samples pass through the network.
        ema: decay of the moving average of the weights that is measured and kept instead; 0 for none.
        batch_norm: whether batch normalisation learns and sees the batch's statistics: "train", "partial" for the first
            alone (TSN, section 3.3), or "frozen", which suits small batches.
        freeze: beginnings of the names of parameters that are not trained.
    """

    name: str = "adamw"
    lr: float = 1e-3
    lr_batch_size: int = 0
    momentum: float = 0.9
    weight_decay: float = 0.05
    groups: Literal["plain", "tsm"] = "plain"
    layer_decay: float = 1.0
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    warmup: float = 0.05
    milestones: list[float] = field(default_factory=lambda: [0.4, 0.8])
    gamma: float = 0.1
    label_smoothing: float = 0.0
    class_weights: list[float] | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    mutual: int = 1
    grad_clip: float = 5.0
    accumulate: int = 1
    ema: float = 0.0
    batch_norm: Literal["train", "partial", "frozen"] = "train"
    freeze: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        shares = ("momentum", "layer_decay", "warmup", "milestones", "label_smoothing", "ema")
        none_or_more = ("lr", "lr_batch_size", "weight_decay", "gamma", "class_weights", "mixup", "cutmix", "grad_clip")
        ranges = dict.fromkeys(shares, (0, 1)) | dict.fromkeys(none_or_more, (0, ANY))
        _check_ranges("optim.", self, mutual=(1, ANY), accumulate=(1, ANY), **ranges)


@dataclass
class SystemConfig:
    """With what it is computed.

    Args:
        device: "auto" takes a GPU where there is one.
        amp: the type of products and convolutions: "none" for float32, "bf16" or, on a GPU, "fp16".
        compile: compile the network with torch.compile.
        grad_checkpointing: compute activations again in the backward pass instead of keeping them.
        sync_bn: average batch normalisation over all processes; on GPUs.
        gradient_compression: of what processes send each other: "none", "powersgd" for products of narrow matrices, or
            "dgc" for the largest of the sums of gradients (Deep Gradient Compression, with SGD). It is lossy.
        compression_rank: of "powersgd", the columns of the matrices.
        compression_sparsity: of "dgc", the share that is not sent.
        compression_warmup: the share of the steps in which "powersgd" does not compress and "dgc" less.
        deterministic: only algorithms whose results repeat bit for bit; a CPU's always do.
    """

    device: str = "auto"
    amp: Literal["none", "bf16", "fp16"] = "none"
    compile: bool = False
    grad_checkpointing: bool = False
    sync_bn: bool = False
    gradient_compression: Literal["none", "powersgd", "dgc"] = "none"
    compression_rank: int = 1
    compression_sparsity: float = 0.999
    compression_warmup: float = 0.05
    deterministic: bool = False

    def __post_init__(self) -> None:
        _check_ranges(
            "system.", self, compression_rank=(1, ANY), compression_sparsity=(0, 1), compression_warmup=(0, 1)
        )


@dataclass
class ValidateConfig:
    """A measurement.

    Args:
        model: "arch.tag", "local-dir:PATH" of a checkpoint as training writes it, or an architecture with `checkpoint`.
        data: what it is measured on; of one's own sets `data.val`.
        checkpoint: of an architecture, the file of its weights, in any layout that `zoo convert` knows.
        split: of the sets that have several, "val" to choose settings by, "test" once they are chosen.
        protocol: of videos "center", "crop10", "dense_10x3" or "twice_x3".
        votes: of points that are labelled one by one, how often each is seen at least.
        batch_size: views or clouds that pass through the network together.
        device: "auto" takes a GPU where there is one.
        out: a JSON file for the figures, and beside it the confusion matrix as PNG and a list of bad files; by default
            none is written.
    """

    model: str
    data: DataConfig = field(default_factory=DataConfig)
    checkpoint: str | None = None
    split: Literal["val", "test"] = "test"
    protocol: Literal["center", "crop10", "dense_10x3", "twice_x3"] = "center"
    votes: int = 1
    batch_size: int = 16
    device: str = "auto"
    out: str | None = None

    def __post_init__(self) -> None:
        _check_ranges("", self, votes=(1, ANY), batch_size=(1, ANY))


@dataclass
class TrainConfig:
    """A training run.

    Args:
        model: an architecture, see `zoo list`.
        data: what is learnt.
        num_classes: of the classifier; by default as many as the data have.
        model_args: further arguments of the architecture.
        tag: under which the trained weights are known.
        init: where training starts.
        optim: how it is learnt.
        system: with what it is computed.
        out: the folder of the run.
        epochs: passes over the training part.
        batch_size: samples a step, over all processes.
        keep_every: keep the checkpoint of every so many epochs too; 0 keeps the best and the last.
        save_steps: save the last checkpoint every so many steps too, not only after each epoch; 0 for no.
        resume: "auto" goes on from the newest whole checkpoint in `out`, if there is one; "no" begins anew.
        seed: of weights, samples and order.
    """

    model: str
    data: DataConfig
    num_classes: int | None = None
    model_args: dict[str, Any] = field(default_factory=dict)
    tag: str = "mine"
    init: InitConfig = field(default_factory=InitConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    system: SystemConfig = field(default_factory=SystemConfig)
    out: str = "out/run"
    epochs: int = 10
    batch_size: int = 16
    keep_every: int = 0
    save_steps: int = 0
    resume: Literal["auto", "no"] = "no"
    seed: int = 0

    def __post_init__(self) -> None:
        none_or_more = dict.fromkeys(("keep_every", "save_steps", "seed"), (0, ANY))
        _check_ranges("", self, epochs=(1, ANY), batch_size=(1, ANY), **none_or_more)
