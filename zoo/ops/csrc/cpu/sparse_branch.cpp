// The voxel branch of a point-voxel convolution without its empty voxels; zoo/ops/sparse_reference.py says how.
#include <numeric>
#include <vector>

#include "corners.h"
#include "sparse_conv.h"

namespace zoo {
namespace {

Reach reach_of(const float* coords, const int32_t* voxels, int64_t num_points, int64_t resolution, bool with_mean) {
  Reach sets{VoxelSet(resolution), VoxelSet(resolution), VoxelSet(resolution)};
  for (int64_t n = 0; n < num_points; ++n) {
    const auto [row, z] = row_and_z(voxels[n], resolution);
    sets.occupied.add(row, z);
  }
  dilate(sets.near, sets.occupied);
  if (with_mean) dilate(sets.read, sets.near);
  for (int64_t n = 0; n < num_points; ++n) {
    int64_t low[3], step[3];
    for (int axis = 0; axis < 3; ++axis) {
      const float at = coords[axis * num_points + n];
      low[axis] = static_cast<int64_t>(at);
      step[axis] = at > static_cast<float>(low[axis]);
    }
    for (int64_t x = low[0]; x <= low[0] + step[0]; ++x)
      for (int64_t y = low[1]; y <= low[1] + step[1]; ++y)
        for (int64_t z = low[2]; z <= low[2] + step[2]; ++z) sets.read.add(x * resolution + y, z);
  }
  for (VoxelSet* set : {&sets.occupied, &sets.near, &sets.read}) count_members(*set);
  return sets;
}

// Of all clouds, after a look at what is given.
std::vector<Reach> reach_of_all(const Tensor& coords, const Tensor& voxels, int64_t resolution, bool with_mean) {
  const bool fits = coords.dim() == 3 && voxels.dim() == 2 && coords.size(0) == voxels.size(0) && coords.size(1) == 3 &&
                    coords.size(2) == voxels.size(1) && coords.scalar_type() == ScalarType::Float &&
                    voxels.scalar_type() == ScalarType::Int;
  if (!fits) refuse(sparse_name, ": coords must be float32 [B, 3, N], and voxels int32 [B, N], of one plan");
  check_resolution(sparse_name, resolution);
  const int64_t batch = coords.size(0), num_points = coords.size(2), num_voxels = resolution * resolution * resolution;
  const int32_t* voxel = data<int32_t>(voxels);
  for (int64_t i = 0; i < voxels.numel(); ++i)
    if (voxel[i] < 0 || voxel[i] >= num_voxels)
      refuse(sparse_name, ": voxel ", voxel[i], " is out of range: it must be in [0, ", num_voxels - 1, "]");
  check_range(sparse_name, data<float>(coords), coords.numel(), resolution);
  std::vector<Reach> reach(batch);
  share_out(batch, [&](int64_t b) {
    reach[b] =
        reach_of(data<float>(coords) + b * 3 * num_points, voxel + b * num_points, num_points, resolution, with_mean);
  });
  return reach;
}

// Means of the features [C, N] of one cloud over the points of every voxel: columns [begin, end) of rows.
template <typename T>
void average(T* rows, int64_t stride, const VoxelSet& set, const T* features, const int32_t* number, int64_t num_points,
             int64_t begin, int64_t end) {
  constexpr int64_t block = 16;  // points whose features are in one line of the caches
  const int64_t width = end - begin;
  std::vector<float> sums(set.size() * width), buffer(width * block);
  std::vector<int32_t> counts(set.size());
  for (int64_t first = 0; first < num_points; first += block) {
    const int64_t some = std::min(block, num_points - first);
    for (int64_t c = 0; c < width; ++c)
      for (int64_t i = 0; i < some; ++i)
        buffer[i * width + c] = static_cast<float>(features[(begin + c) * num_points + first + i]);
    for (int64_t i = 0; i < some; ++i) {
      float* sum = sums.data() + number[first + i] * width;
      for (int64_t c = 0; c < width; ++c) sum[c] += buffer[i * width + c];
      ++counts[number[first + i]];
    }
  }
  for (int64_t row = 0; row < set.size(); ++row)
    for (int64_t c = 0; c < width; ++c)
      rows[row * stride + begin + c] = static_cast<T>(sums[row * width + c] / static_cast<float>(counts[row]));
}

float leaky(float value, float slope) { return value > 0 ? value : value * slope; }

// Rows of sums, activated, less `start` activated: how they differ from what an empty grid gives.
template <typename T>
ZOO_SIMD void write_change(T* __restrict to, const float* __restrict sums, const float* __restrict start, int64_t count,
                           int64_t stride, float slope) {
  for (int64_t j = 0; j < count; ++j)
    for (int64_t c = 0; c < stride; ++c)
      to[j * stride + c] = static_cast<T>(leaky(sums[j * stride + c], slope) - leaky(start[c], slope));
}

// Activates sums, and writes them.
template <typename T>
ZOO_SIMD void write_activated(T* __restrict to, float* __restrict sums, int64_t count, float slope) {
  for (int64_t i = 0; i < count; ++i) {
    sums[i] = leaky(sums[i], slope);
    to[i] = static_cast<T>(sums[i]);
  }
}

// A vector of channels, rounded up with zeros.
std::vector<float> padded(const float* values, int64_t channels, int64_t stride) {
  std::vector<float> out(stride);
  std::copy_n(values, channels, out.data());
  return out;
}

// The case of a voxel along one axis in a cube of side min(R, 3): at the lower border, inside, at the upper one.
int64_t place(int64_t at, int64_t resolution) { return (at > 0) + (at > 1 && at == resolution - 1); }

// What an empty grid gives, [S^3, stride], before the activation.
struct Empty {
  int64_t resolution, side, stride;
  std::vector<float> values;

  Empty(const Tensor& given, int64_t r, int64_t padded_channels)
      : resolution(r), side(given.size(0)), stride(padded_channels), values(side * side * side * stride) {
    const int64_t channels = given.size(3);
    for (int64_t i = 0; i < side * side * side; ++i)
      std::copy_n(data<float>(given) + i * channels, channels, values.data() + i * stride);
  }
  const float* at(int64_t row, int64_t z) const {
    const int64_t x = place(row / resolution, resolution), y = place(row % resolution, resolution);
    return values.data() + ((x * side + y) * side + place(z, resolution)) * stride;
  }
  // Adds the activated response at all voxels but the members of a set.
  void add_rest(double* sums, const VoxelSet& set, float slope) const {
    std::vector<int64_t> rest(values.size() / stride);
    const int64_t middle = std::max<int64_t>(resolution - 2, 0);  // voxels of a row that touch neither end
    for (int64_t row = 0; row < resolution * resolution; ++row) {
      const int64_t first = (at(row, 0) - values.data()) / stride, word = row * set.words;
      const bool low = set.has(row, 0), high = resolution > 1 && set.has(row, resolution - 1);
      rest[first] += !low;
      if (resolution > 1) rest[first + side - 1] += !high;
      if (middle > 0) rest[first + 1] += middle - (set.before[word + set.words] - set.before[word] - low - high);
    }
    for (size_t i = 0; i < rest.size(); ++i)
      for (int64_t c = 0; c < stride; ++c)
        sums[c] += static_cast<double>(rest[i]) * static_cast<double>(leaky(values[i * stride + c], slope));
  }
};

template <typename T>
void compute(const Tensor& out, const Tensor& mean, const Tensor& features, const Tensor& coords, const Tensor& voxels,
             int64_t resolution, const Tensor& weight1, const Tensor& bias, const Tensor& weight2,
             const Tensor& nothing, float slope1, float slope2, bool with_mean) {
  const int64_t batch = features.size(0), channels = features.size(1), num_points = features.size(2);
  const std::vector<Reach> reach = reach_of_all(coords, voxels, resolution, with_mean);

  Rows<T> rows(features, reach, &Reach::occupied, weight1.size(2) * together<T>);
  const int64_t groups = (rows.stride + lanes - 1) / lanes;
  std::vector<int32_t> numbers(batch * num_points);
  for (int64_t i = 0; i < batch * num_points; ++i)
    numbers[i] = reach[i / num_points].occupied.number(data<int32_t>(voxels)[i]);
  share_out(batch * groups, [&](int64_t i) {
    const int64_t b = i / groups, begin = i % groups * lanes;
    T* to = rows[rows.first[b]];
    const int64_t members = reach[b].occupied.size(), end = std::min(begin + lanes, channels);
    average<T>(to, rows.stride, reach[b].occupied, data<T>(features) + b * channels * num_points,
               numbers.data() + b * num_points, num_points, begin, end);
    for (int64_t row = 0; row < members && end == channels; ++row)
      std::fill(to + row * rows.stride + channels, to + (row + 1) * rows.stride, T(0));
  });

  const Convolution<T> first(weight1, reach, &Reach::occupied, &Reach::near);
  const std::vector<float> start = padded(data<float>(bias), bias.size(0), first.stride());
  Rows<T> change(features, reach, &Reach::near, first.stride());
  const std::vector<Chunk> near = chunks_of(reach, &Reach::near);
  first(
      rows, near, [&](int64_t, int64_t) { return start.data(); },
      [&](int64_t i, int64_t member, const float* sums, int64_t count) {
        T* to = change[change.first[near[i].cloud] + member];
        write_change(to, sums, start.data(), count, change.stride, slope1);
      });

  const Convolution<T> second(weight2, reach, &Reach::near, &Reach::read);
  const Empty empty(nothing, resolution, second.stride());
  Rows<T> result(features, reach, &Reach::read, second.stride());
  const std::vector<Chunk> read = chunks_of(reach, &Reach::read);
  std::vector<float> totals(with_mean ? read.size() * result.stride : 0);
  second(
      change, read, [&](int64_t row, int64_t z) { return empty.at(row, z); },
      [&](int64_t i, int64_t member, float* sums, int64_t count) {
        T* to = result[result.first[read[i].cloud] + member];
        write_activated(to, sums, count * result.stride, slope2);
        if (with_mean)
          for (int64_t j = 0; j < count; ++j)
            for (int64_t c = 0; c < result.stride; ++c) totals[i * result.stride + c] += sums[j * result.stride + c];
      });
  if (with_mean) {
    std::vector<double> sums(batch * result.stride);
    for (size_t i = 0; i < read.size(); ++i)
      for (int64_t c = 0; c < result.stride; ++c)
        sums[read[i].cloud * result.stride + c] += static_cast<double>(totals[i * result.stride + c]);
    for (int64_t b = 0; b < batch; ++b) {
      empty.add_rest(sums.data() + b * result.stride, reach[b].read, slope2);
      for (int64_t c = 0; c < mean.size(1); ++c)
        mutable_data<float>(mean)[b * mean.size(1) + c] =
            static_cast<float>(sums[b * result.stride + c] / static_cast<double>(resolution * resolution * resolution));
    }
  }

  // The points' corners, as rows of the result; of a pair of which only the second counts, the first may not be there.
  constexpr int64_t block = 32;
  const int64_t blocks = (num_points + block - 1) / block, last = out.size(1);
  share_out(batch * blocks, [&](int64_t i) {
    const int64_t b = i / blocks, begin = i % blocks * block, count = std::min(block, num_points - begin);
    const VoxelSet& set = reach[b].read;
    int32_t order[block], corner[block * pairs];
    float weights[block * pairs * 2];
    std::vector<float> sums(block * last);
    std::iota(order, order + count, static_cast<int32_t>(begin));
    find_corners(corner, weights, data<float>(coords) + b * 3 * num_points, order, num_points, count, resolution);
    for (int64_t j = 0; j < count * pairs; ++j)
      corner[j] = weights[2 * j + 1] != 0 ? set.number(corner[j] + 1) - 1 : set.number(corner[j]);
    gather_rows<T>(mutable_data<T>(out) + b * last * num_points, sums.data(), result[result.first[b]], result.stride,
                   {num_points, order, corner, weights}, last, 0, count);
  });
}

std::tuple<Tensor, Tensor> sparse_voxel_branch(Tensor features, Tensor coords, Tensor voxels, int64_t resolution,
                                               Tensor weight1, Tensor bias, Tensor weight2, Tensor nothing,
                                               double slope1, double slope2, bool with_mean) {
  for (Tensor* x : {&features, &coords, &voxels, &weight1, &bias, &weight2, &nothing}) *x = contiguous(*x);
  const bool bf16 = features.scalar_type() == ScalarType::BFloat16;
  if (!bf16 && features.scalar_type() != ScalarType::Float)
    refuse(sparse_name, ": features must be float32 or bfloat16");
  const int64_t two = bf16 ? 2 : 1, side = std::min<int64_t>(resolution, 3);
  const auto packed = [&](const Tensor& weight, int64_t from, int64_t to) {
    return weight.dim() == (bf16 ? 5 : 4) && weight.scalar_type() == features.scalar_type() &&
           weight.size(0) == num_taps && weight.size(1) == (to + lanes - 1) / lanes &&
           weight.size(2) == (from + two - 1) / two && weight.size(3) == lanes && (!bf16 || weight.size(4) == 2);
  };
  const bool fits = features.dim() == 3 && bias.dim() == 1 && nothing.dim() == 4 && nothing.size(0) == side &&
                    nothing.size(1) == side && nothing.size(2) == side && bias.scalar_type() == ScalarType::Float &&
                    nothing.scalar_type() == ScalarType::Float && packed(weight1, features.size(1), bias.size(0)) &&
                    packed(weight2, bias.size(0), nothing.size(3));
  if (!fits)
    refuse(sparse_name, ": the weights must be those of a branch for such features, as voxel_branch makes them");
  if (features.size(0) != voxels.size(0) || features.size(2) != voxels.size(1))
    refuse(sparse_name, ": give features of every point of the plan");
  const int64_t batch = features.size(0), channels = nothing.size(3);
  Tensor out = make(features, {batch, channels, features.size(2)});
  Tensor mean = empty(nothing, {batch, with_mean ? channels : 0});
  const auto run = [&](auto zero) {
    compute<decltype(zero)>(out, mean, features, coords, voxels, resolution, weight1, bias, weight2, nothing,
                            static_cast<float>(slope1), static_cast<float>(slope2), with_mean);
  };
  if (bf16)
    run(BFloat16{});
  else
    run(float{});
  return {out, mean};
}

Tensor sparse_work(Tensor coords, Tensor voxels, int64_t resolution, bool with_mean) {
  coords = contiguous(coords);
  voxels = contiguous(voxels);
  int64_t first = 0, second = 0;
  for (const Reach& sets : reach_of_all(coords, voxels, resolution, with_mean)) {
    first += count_pairs(sets.occupied, sets.near);
    second += count_pairs(sets.near, sets.read);
  }
  Tensor work = empty(voxels, {2}, ScalarType::Long);
  mutable_data<int64_t>(work)[0] = first;
  mutable_data<int64_t>(work)[1] = second;
  return work;
}

}  // namespace
}  // namespace zoo

STABLE_TORCH_LIBRARY_IMPL(zoo, CPU, m) {
  m.impl("sparse_voxel_branch", TORCH_BOX(&zoo::sparse_voxel_branch));
  m.impl("sparse_work", TORCH_BOX(&zoo::sparse_work));
}
