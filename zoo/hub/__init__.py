"""Where weights lie and what belongs to them: in checkpoints/, on the Hub, at their authors', in folders."""

from zoo.hub.bundled import bundled_names, checkpoints_folder, golden_file, register_bundled
from zoo.hub.card import CARD_NAME, model_card
from zoo.hub.config_file import read_description
from zoo.hub.download import download_from_hub
from zoo.hub.golden import check_golden, write_golden, write_golden_output
from zoo.hub.known_points import register_points
from zoo.hub.known_video import register_video
from zoo.hub.network import in_order, sketch
from zoo.hub.pretrained_folder import push_to_hub, save_pretrained, write_model
from zoo.hub.push import check_publishable, repository_files, upload
from zoo.hub.resolve import load, resolve, whereabouts
from zoo.hub.sources import HubFile
from zoo.hub.stage import stage
from zoo.hub.verify import fetch_golden, verifiable, verify
from zoo.hub.weights_file import WEIGHTS_NAME, load_weights, write_weights

__all__ = [
    "CARD_NAME",
    "WEIGHTS_NAME",
    "HubFile",
    "bundled_names",
    "check_golden",
    "check_publishable",
    "checkpoints_folder",
    "download_from_hub",
    "fetch_golden",
    "golden_file",
    "in_order",
    "load",
    "load_weights",
    "model_card",
    "push_to_hub",
    "read_description",
    "register_bundled",
    "register_points",
    "register_video",
    "repository_files",
    "resolve",
    "save_pretrained",
    "sketch",
    "stage",
    "upload",
    "verifiable",
    "verify",
    "whereabouts",
    "write_golden",
    "write_golden_output",
    "write_model",
    "write_weights",
]
