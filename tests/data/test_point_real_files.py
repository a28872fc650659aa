"""Real files of every format, held against Open3D where it reads them."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from zoo.data.points import read_points
from zoo.errors import InputError

DATA = Path(os.environ.get("ZOO_TEST_DATA", "")) / "points"
pytestmark = pytest.mark.skipif(
    "ZOO_TEST_DATA" not in os.environ or not DATA.is_dir(),
    reason="ZOO_TEST_DATA does not name the folder of real files",
)
CLOUDS = ["ism_test_cat", "milk", "milk_cartoon_all_small_clorox", "room_scan1"]
MESHES = [
    *(f"meshes/{name}.obj" for name in ("cow", "homer", "spot", "stanford-bunny", "teapot")),
    "modelnet_off/3DShapeNets_chair.off",
    "modelnet_off/airplane/airplane_0003.off",
    *(f"modelnet_off/{kind}/{kind}_000{i}.off" for kind in ("bathtub", "bed") for i in (1, 2, 3)),
]
KITTI = "scenes/mmdet3d/demo/data"
BINS = [
    *((f"scenes/kitti_object/training/velodyne/00000{i}.bin", 4) for i in range(3)),
    (f"{KITTI}/kitti/000008.bin", 4),
    (f"{KITTI}/nuscenes/n015-2018-07-24-11-22-45+0800__LIDAR_TOP__1532402927647951.pcd.bin", 5),
    (f"{KITTI}/scannet/scene0000_00.bin", 6),
    (f"{KITTI}/sunrgbd/000017.bin", 6),
    ("scenes/semantickitti/000000.bin", 4),
]


def import_open3d():
    """Open3D, or a skipped test where it or a system library of its is missing."""
    try:
        import open3d
    except (ImportError, OSError) as error:
        pytest.skip(f"Open3D cannot be imported: {error}")
    return open3d


@pytest.mark.parametrize("name", CLOUDS)
def test_pcd_as_open3d_reads_it(name):
    path = DATA / f"formats/pcl/{name}.pcd"
    cloud = read_points(path)
    expected = import_open3d().io.read_point_cloud(path, remove_nan_points=False)
    np.testing.assert_allclose(cloud.points, np.asarray(expected.points), rtol=1e-6)
    assert expected.has_colors() == (cloud.colors is not None)
    if cloud.colors is not None:
        np.testing.assert_array_equal(cloud.colors, np.rint(np.asarray(expected.colors) * 255))


def test_an_organised_cloud_keeps_its_lost_points():
    cloud = read_points(DATA / "formats/pcl/milk_cartoon_all_small_clorox.pcd")
    assert len(cloud.points) == 640 * 480 and 0 < (~cloud.finite).sum() < 100_000


@pytest.mark.parametrize("name", MESHES)
def test_meshes_have_open3ds_vertices_and_samples_on_its_surface(name, tmp_path):
    path = DATA / "formats" / name
    vertices = read_points(path, mesh_samples=0).points
    cloud = read_points(path)
    source = path
    if path.suffix == ".off":  # Open3D does not read ModelNet's run-together header
        source = tmp_path / "a.off"
        text = path.read_text()
        source.write_text(text if text.startswith("OFF\n") else text.replace("OFF", "OFF\n", 1))
    mesh = import_open3d().io.read_triangle_mesh(source)
    expected = np.asarray(mesh.vertices)
    corners = expected[np.asarray(mesh.triangles)]
    if name.endswith(".off"):
        np.testing.assert_allclose(vertices, expected, rtol=1e-6, atol=1e-6)
    assert cloud.points.shape == (10_000, 3) and cloud.finite.all()
    assert (cloud.points >= corners.min(axis=(0, 1)) - 1e-4).all()
    assert (cloud.points <= corners.max(axis=(0, 1)) + 1e-4).all()
    # The mean of the samples is the centroid of the surface, within five standard errors.
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    centroid = (corners.mean(axis=1) * areas[:, None]).sum(axis=0) / areas.sum()
    assert (np.abs(cloud.points.mean(axis=0) - centroid) < 5 * cloud.points.std(axis=0) / 100 + 1e-6).all()


def test_a_mesh_of_quadrilaterals_is_covered_whole():
    path = DATA / "formats/meshes/suzanne.obj"  # Open3D drops all faces that are no triangles
    vertices, points = read_points(path, mesh_samples=0).points, read_points(path).points
    assert len(vertices) == 507 and len(points) == 10_000
    np.testing.assert_allclose(points.min(axis=0), vertices.min(axis=0), atol=0.2)
    np.testing.assert_allclose(points.max(axis=0), vertices.max(axis=0), atol=0.2)


@pytest.mark.parametrize(
    "path", sorted(DATA.glob("formats/shapenetpart_normal/0*/*.txt")), ids=lambda path: path.stem[:8]
)
def test_shapenet_part_has_normals_and_no_colors(path):
    cloud = read_points(path)
    table = np.loadtxt(path)
    np.testing.assert_allclose(cloud.points, table[:, :3], rtol=1e-6)
    np.testing.assert_allclose(cloud.normals, table[:, 3:6], atol=1e-6)
    assert cloud.colors is None and cloud.intensity is None


@pytest.mark.parametrize(("name", "num_columns"), BINS)
def test_bin_files_of_every_data_set_have_their_columns(name, num_columns):
    table = np.fromfile(DATA / name, "<f4").reshape(-1, num_columns)
    cloud = read_points(DATA / name)
    np.testing.assert_array_equal(cloud.points, table[:, :3])
    if num_columns == 6:
        scale = 1 if table[:, 3:].max() > 1 else 255
        np.testing.assert_array_equal(cloud.colors, np.rint(table[:, 3:] * scale))
    else:
        np.testing.assert_array_equal(cloud.intensity, table[:, 3])


def test_archives():
    assert read_points(DATA / "isprs_ground.npz").points.shape[0] > 290_000
    radar = read_points(DATA / "radhar.npz")
    assert len(radar.intensity) == len(radar.points)
    with pytest.raises(InputError, match="it has: points_halfmm"):
        read_points(DATA / "mosd_tabletop.npz")


@pytest.mark.parametrize("name", ["kitti_object/training/image_2/000000.png", "mmdet3d/demo/data/sunrgbd/000017.jpg"])
def test_pictures_are_refused(name, tmp_path):
    with pytest.raises(InputError, match="is an image"):
        read_points(DATA / "scenes" / name)
    (tmp_path / "a.bin").write_bytes((DATA / "scenes" / name).read_bytes())
    with pytest.raises(InputError, match="is an image"):
        read_points(tmp_path / "a.bin")


@pytest.mark.parametrize("kind", ["ascii", "binary", "compressed", "big endian"])
def test_a_real_cloud_in_open3ds_own_files(kind, tmp_path):
    o3d = import_open3d()
    cloud = read_points(DATA / "formats/pcl/milk.pcd")
    copy = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(cloud.points.astype(np.float64)))
    copy.colors = o3d.utility.Vector3dVector(cloud.colors / 255)
    paths = [tmp_path / "a.ply", tmp_path / "a.pcd"]
    for path in paths:
        o3d.io.write_point_cloud(path, copy, write_ascii=kind == "ascii", compressed=kind == "compressed")
    if kind == "big endian":
        axes = "".join(f"property float {axis}\n" for axis in "xyz")
        header = f"ply\nformat binary_big_endian 1.0\nelement vertex 1\n{axes}end_header\n"
        paths[0].write_bytes(header.encode() + struct.pack(">3f", *cloud.points[0]))
        np.testing.assert_array_equal(
            read_points(paths[0]).points, np.asarray(o3d.io.read_point_cloud(paths[0]).points)
        )
        return
    for path in paths:
        np.testing.assert_allclose(read_points(path).points, cloud.points, atol=1e-6)
        np.testing.assert_array_equal(read_points(path).colors, cloud.colors)
