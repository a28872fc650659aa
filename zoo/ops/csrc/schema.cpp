// The operators of the library `zoo`: what each takes and gives. zoo/ops/native.py says what they mean.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(zoo, m) {
  m.def("temporal_shift(Tensor x, int num_frames, int shift_div, int first, int second) -> Tensor");
  m.def("temporal_shift_(Tensor(a!) x, int num_frames, int shift_div, int first, int second) -> ()");
  m.def("temporal_shift_out(Tensor x, int num_frames, int shift_div, int first, int second, Tensor(a!) out) -> ()");
  m.def("online_shift(Tensor x, Tensor past) -> (Tensor, Tensor)");

  // 1x1 convolutions of shifted frames; what is computed stays within [low, high], which is what an activation does.
  m.def(
      "shifted_pointwise_conv(Tensor x, Tensor weight, Tensor? bias, int num_frames, int shift_div, int first, "
      "int second, float low, float high) -> Tensor");
  m.def(
      "shifted_pointwise_conv_input(Tensor grad, Tensor weight, int num_frames, int shift_div, int first, "
      "int second) -> Tensor");
  m.def(
      "shifted_pointwise_conv_weight(Tensor grad, Tensor x, int num_frames, int shift_div, int first, "
      "int second) -> Tensor");
  m.def(
      "online_pointwise_conv(Tensor x, Tensor past, Tensor weight, Tensor? bias, float low, float high) "
      "-> (Tensor, Tensor)");

  // MobileNetV2 from the image to its pooled features, of clips and of streams, by weights that zoo/ops/mobilenet.py
  // has packed.
  m.def(
      "mobilenet_features(Tensor frames, Tensor[] weights, int[] layout, int stem_stride, float limit, bool same, "
      "int num_frames, int shift_div, int first, int second) -> Tensor");
  m.def(
      "online_mobilenet_features(Tensor frames, Tensor[] past, Tensor[] weights, int[] layout, int stem_stride, "
      "float limit, bool same) -> Tensor[]");

  m.def("voxel_plan(Tensor coords, Tensor mean, int resolution, bool normalize) -> (Tensor, Tensor, Tensor)");
  m.def("voxel_index(Tensor coords, int resolution) -> (Tensor, Tensor)");
  m.def("avg_voxelize(Tensor features, Tensor voxels, Tensor counts) -> Tensor");
  m.def("avg_voxelize_out(Tensor features, Tensor voxels, Tensor counts, Tensor(a!) out) -> ()");
  m.def("avg_voxelize_backward(Tensor grad, Tensor voxels, Tensor counts) -> Tensor");
  m.def("avg_voxelize_backward_out(Tensor grad, Tensor voxels, Tensor counts, Tensor(a!) out) -> ()");
  m.def("trilinear_devoxelize(Tensor grid, Tensor coords) -> Tensor");
  m.def("trilinear_devoxelize_out(Tensor grid, Tensor coords, Tensor(a!) out) -> ()");
  m.def("trilinear_devoxelize_backward(Tensor grad, Tensor coords, int resolution) -> Tensor");
  m.def("trilinear_devoxelize_backward_out(Tensor grad, Tensor coords, Tensor(a!) out) -> ()");

  m.def("furthest_point_sample(Tensor points, int num_samples) -> Tensor");
  m.def("ball_query(Tensor centers, Tensor points, float radius, int num_neighbors) -> Tensor");
  m.def("gather_points(Tensor features, Tensor indices) -> Tensor");
  m.def("gather_points_backward(Tensor grad, Tensor indices, int num_points) -> Tensor");
  m.def("three_nn(Tensor points, Tensor centers) -> (Tensor, Tensor)");
  m.def("three_interpolate(Tensor features, Tensor indices, Tensor weights) -> Tensor");
  m.def("three_interpolate_backward(Tensor grad, Tensor indices, Tensor weights, int num_centers) -> Tensor");

  m.def(
      "sparse_voxel_branch(Tensor features, Tensor coords, Tensor voxels, int resolution, Tensor weight1, Tensor bias, "
      "Tensor weight2, Tensor empty, float slope1, float slope2, bool with_mean) -> (Tensor, Tensor)");
  m.def("sparse_work(Tensor coords, Tensor voxels, int resolution, bool with_mean) -> Tensor");

  // Sums in a fixed order, for CUDA, where the operators above add up in whichever order threads arrive.
  m.def("avg_voxelize_sorted(Tensor features, Tensor voxels, Tensor counts, Tensor order) -> Tensor");
  m.def("scatter_sorted(Tensor values, Tensor targets, Tensor order, Tensor weights, int size) -> Tensor");
}
