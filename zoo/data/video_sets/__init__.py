"""Sets of labelled videos: from a folder or an annotation to paths and labels.

``find_videos`` knows folders by class, CSV files, and the official annotations of Kinetics, Something-Something,
Jester, UCF101 and HMDB51.
"""

from zoo.data.video_sets.find import LAYOUTS, Layout, find_videos
from zoo.data.video_sets.listing import VideoSet

__all__ = ["LAYOUTS", "Layout", "VideoSet", "find_videos"]
