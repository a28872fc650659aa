"""What a model card says that no description of weights does: of tasks, data sets and papers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """A task, for the reader of a card.

    Attributes:
        purpose: what a model of it is for.
        limits: what to keep in mind.
        tags: for the Hub.
        pipeline: the Hub's own name of the task, where it has one.
    """

    purpose: str
    limits: str
    tags: tuple[str, ...]
    pipeline: str | None = None


@dataclass(frozen=True)
class Dataset:
    """What weights were trained on.

    Attributes:
        name: short, for the Hub.
        text: what it is, with its source.
        terms: under which it may be used.
        limits: what follows from it.
    """

    name: str
    text: str
    terms: str
    limits: str


TASKS = {
    "video_classification": Task(
        "Says which of its classes a short video shows.",
        "It knows no other classes and gives a label to any video; the probabilities are not calibrated. Frames are "
        "sampled over the whole video, so long videos should be cut into clips first.",
        ("video-classification", "action-recognition"),
        "video-classification",
    ),
    "semantic_segmentation": Task(
        "Gives every point of a scene one of its classes.",
        "It knows no other classes and labels every point. Clouds from other sensors, of another density, axes or "
        "units than those it was trained on are likely to be labelled worse.",
        ("point-cloud", "semantic-segmentation"),
    ),
    "part_segmentation": Task(
        "Gives every point of an object the part that it belongs to; the category of the object is an input.",
        "It was trained on clean surfaces of single objects, aligned alike; scans with noise, gaps or another "
        "orientation are likely to be labelled worse.",
        ("point-cloud", "part-segmentation"),
    ),
    "point_classification": Task(
        "Says which of its classes a cloud of points shows.",
        "It knows no other classes and gives a label to any cloud; the probabilities are not calibrated.",
        ("point-cloud", "point-cloud-classification"),
    ),
    "object_detection": Task(
        "Finds the 3D box of an object among the points in the frustum of its 2D box.",
        "The 2D boxes and their classes come from a detector of images, which is not part of it; what that misses, "
        "this cannot find.",
        ("point-cloud", "object-detection", "3d-object-detection"),
    ),
}
NOT_FOR = "Nobody's safety, rights or job should depend on what it says without a person who checks."

SOMETHING_TERMS = "free for academic research on request; its owner, Qualcomm, licenses other uses"
DATASETS = {  # by the first part of a tag
    "k400": Dataset(
        "kinetics-400",
        "Kinetics-400, clips from YouTube of 400 human actions (Kay et al. 2017, https://arxiv.org/abs/1705.06950)",
        "the annotations are CC BY 4.0, the videos belong to those who uploaded them",
        "Objects and places tell many of its actions without any motion, and its people and places are not a fair "
        "sample of the world's.",
    ),
    "ssv1": Dataset(
        "something-something-v1",
        "Something-Something V1, acted clips of 174 things that hands do with objects (Goyal et al. 2017, "
        "https://arxiv.org/abs/1706.04261)",
        SOMETHING_TERMS,
        "The clips are acted, close and short.",
    ),
    "ssv2": Dataset(
        "something-something-v2",
        "Something-Something V2, acted clips of 174 things that hands do with objects (Goyal et al. 2017, "
        "https://arxiv.org/abs/1706.04261)",
        SOMETHING_TERMS,
        "The clips are acted, close and short.",
    ),
    "jester": Dataset(
        "jester",
        "Jester, clips of 27 hand gestures before a webcam (Materzynska et al. 2019)",
        SOMETHING_TERMS,
        "It expects one person who faces the camera, as a webcam sees them.",
    ),
    "s3dis": Dataset(
        "s3dis",
        "S3DIS, scans of six areas of office buildings with 13 classes (Armeni et al. 2016), area 5 kept for tests",
        "on request from Stanford University, for research",
        "It saw offices, corridors and lecture halls of one university, with colours, z up, in metres.",
    ),
    "shapenet": Dataset(
        "shapenet-part",
        "ShapeNet Part, points on 3D models of 16 categories of objects with 50 parts (Yi et al. 2016)",
        "the terms of ShapeNet, for research and education without commerce",
        "The objects are drawn, not scanned.",
    ),
    "kitti": Dataset(
        "kitti",
        "KITTI, laser scans and images from a car in Karlsruhe (Geiger et al. 2012)",
        "CC BY-NC-SA 3.0",
        "It saw the streets of one town in daylight by one sensor.",
    ),
    "fingertip": Dataset(
        "fingertip",
        "Tracks of a fingertip, 16 positions each, of the hand-gesture-recognition-using-mediapipe family",
        "Apache-2.0",
        "It saw tracks drawn as a dot or a stroke, never a hand: a tracker of hands has to come first.",
    ),
    "mosd": Dataset(
        "mosd",
        "mOSD, 85 tabletop scenes of a depth camera (Richtsfeld et al. 2012), in PointCloudLibrary/data",
        "BSD-3-Clause",
        "Clouds are as a depth camera gives them: x to the right, y down, z forward, with colours.",
    ),
    "fights": Dataset(
        "fight-detection-surv-dataset",
        "234 clips of surveillance cameras, from seymanurakti/fight-detection-surv-dataset",
        "the repository is MIT, which does not cover the footage of others in it: research only",
        "Few clips of few places: it must not be used to watch people, nor to decide about them.",
    ),
    "isprs": Dataset(
        "isprs-filter-test",
        "12 airborne laser scans (Sithole and Vosselman 2004), in PointCloudLibrary/data",
        "BSD-3-Clause",
        "It saw few sites, from the air, in metres, z up.",
    ),
    "radhar": Dataset(
        "radhar",
        "RadHAR, clouds of a millimetre-wave radar of people in five activities (nesl/RadHAR)",
        "BSD-3-Clause",
        "It saw a few people in one room before one kind of radar.",
    ),
}

TSM = """@inproceedings{lin2019tsm,
  title = {TSM: Temporal Shift Module for Efficient Video Understanding},
  author = {Lin, Ji and Gan, Chuang and Han, Song},
  booktitle = {Proceedings of the IEEE International Conference on Computer Vision},
  year = {2019}
}"""
TSN = """@inproceedings{wang2016tsn,
  title = {Temporal Segment Networks: Towards Good Practices for Deep Action Recognition},
  author = {Wang, Limin and Xiong, Yuanjun and Wang, Zhe and Qiao, Yu and Lin, Dahua and Tang, Xiaoou and others},
  booktitle = {European Conference on Computer Vision},
  year = {2016}
}"""
PVCNN = """@inproceedings{liu2019pvcnn,
  title = {Point-Voxel CNN for Efficient 3D Deep Learning},
  author = {Liu, Zhijian and Tang, Haotian and Lin, Yujun and Han, Song},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2019}
}"""
POINTNET = """@inproceedings{qi2017pointnet,
  title = {PointNet: Deep Learning on Point Sets for 3D Classification and Segmentation},
  author = {Qi, Charles R. and Su, Hao and Mo, Kaichun and Guibas, Leonidas J.},
  booktitle = {Proceedings of the IEEE Conference on Computer Vision and Pattern Recognition},
  year = {2017}
}"""
POINTNET2 = """@inproceedings{qi2017pointnet2,
  title = {PointNet++: Deep Hierarchical Feature Learning on Point Sets in a Metric Space},
  author = {Qi, Charles R. and Yi, Li and Su, Hao and Guibas, Leonidas J.},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2017}
}"""
FRUSTUM = """@inproceedings{qi2018frustum,
  title = {Frustum PointNets for 3D Object Detection from RGB-D Data},
  author = {Qi, Charles R. and Liu, Wei and Wu, Chenxia and Su, Hao and Guibas, Leonidas J.},
  booktitle = {Proceedings of the IEEE Conference on Computer Vision and Pattern Recognition},
  year = {2018}
}"""
PAPERS = {  # by the beginning of an architecture's name; the first that fits
    "tsm": (TSM,),
    "tsn": (TSN,),
    "pvcnn": (PVCNN,),
    "pointnet2": (POINTNET2,),
    "pointnet": (POINTNET,),
    "frustum_pvcnne": (FRUSTUM, PVCNN),
    "frustum": (FRUSTUM,),
}
