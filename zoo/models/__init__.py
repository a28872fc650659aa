"""The architectures, one family a file; importing this package registers them all."""

from zoo.models import frustum, pointnet, pointnet2, pvcnn, pvcnnpp, tsm

__all__ = ["frustum", "pointnet", "pointnet2", "pvcnn", "pvcnnpp", "tsm"]
