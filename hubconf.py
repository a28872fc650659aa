"""Every architecture for ``torch.hub.load``, with the arguments of ``zoo.create_model``.

Such as ``torch.hub.load(".", "pvcnn_sem_c0p25", source="local", pretrained=True)``, or ``pretrained="mosd"`` for the
weights of a tag.
"""

import zoo as _zoo

dependencies = ["torch", "timm", "numpy", "safetensors", "huggingface_hub", "filelock", "tqdm", "yaml"]


def _entrypoint(architecture):
    def build(pretrained=False, **arguments):
        name = f"{architecture}.{pretrained}" if isinstance(pretrained, str) else architecture
        return _zoo.create_model(name, pretrained=bool(pretrained), **arguments)

    build.__name__ = architecture
    build.__doc__ = f"``zoo.create_model({architecture!r}, ...)``; ``pretrained`` is True or the tag of weights."
    return build


globals().update({name: _entrypoint(name) for name in _zoo.list_models()})
