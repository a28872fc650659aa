// Average voxelisation (Point-Voxel CNN, equation 2) and the plan that says which voxel each point lies in.
#include <algorithm>
#include <utility>
#include <vector>

#include "weighted.h"

namespace zoo {
namespace {

void count_points(int32_t* counts, const int32_t* voxels, int64_t num_points, int64_t num_voxels) {
  std::fill_n(counts, num_voxels, 0);
  for (int64_t n = 0; n < num_points; ++n) ++counts[voxels[n]];
}

// One cloud [3, N] about `mean` [3] to coordinates in voxels and linear voxel indices; the arithmetic, and so each
// rounding, is that of zoo/ops/reference.py. Returns the largest squared distance to the mean, or, where nothing is
// scaled, the largest distance along an axis.
template <typename T>
ZOO_SIMD T plan_cloud(T* __restrict out, int32_t* __restrict voxels, const T* __restrict coords, const T* mean,
                      int64_t num_points, int32_t resolution, bool normalize) {
  const T *x = coords, *y = coords + num_points, *z = coords + 2 * num_points;
  bool identical = true;
  for (int64_t n = 0; n < num_points; ++n) identical &= x[n] == x[0] && y[n] == y[0] && z[n] == z[0];
  T furthest = 0;
  for (int64_t n = 0; n < num_points; ++n) {
    const T a = x[n] - mean[0], b = y[n] - mean[1], c = z[n] - mean[2];
    const T away = normalize ? a * a + b * b + c * c : std::max({std::abs(a), std::abs(b), std::abs(c)});
    furthest = away > furthest ? away : furthest;
  }
  const T diameter = normalize ? std::sqrt(furthest) * 2 : T(2);
  const T scale = static_cast<T>(resolution), highest = static_cast<T>(resolution - 1);
  for (int axis = 0; axis < 3; ++axis) {
    const T* from = coords + axis * num_points;
    T* to = out + axis * num_points;
    const T middle = mean[axis];
    if (identical || diameter == 0) {
      std::fill_n(to, num_points, std::min(T(0.5) * scale, highest));
      continue;
    }
    for (int64_t n = 0; n < num_points; ++n) {
      const T centered = from[n] - middle;
      T at = (normalize ? centered / diameter + T(0.5) : (centered + 1) / 2) * scale;
      at = at >= 0 ? at : T(0);  // also where it is not a number
      to[n] = at > highest ? highest : at;
    }
  }
  const T *i = out, *j = out + num_points, *k = out + 2 * num_points;
  for (int64_t n = 0; n < num_points; ++n) {  // half to even, as the processor rounds by default
    const int32_t a = static_cast<int32_t>(std::nearbyint(i[n]));
    const int32_t b = static_cast<int32_t>(std::nearbyint(j[n]));
    const int32_t c = static_cast<int32_t>(std::nearbyint(k[n]));
    voxels[n] = (a * resolution + b) * resolution + c;
  }
  return furthest;
}

std::tuple<Tensor, Tensor, Tensor> voxel_plan(Tensor coords, Tensor mean, int64_t resolution, bool normalize) {
  check_clouds("voxel_plan", coords, mean, 2);
  check_resolution("voxel_plan", resolution);
  const int64_t batch = coords.size(0), num_points = coords.size(2), num_voxels = resolution * resolution * resolution;
  coords = contiguous(coords);
  mean = contiguous(mean);
  Tensor out = empty(coords, {batch, 3, num_points});
  Tensor voxels = empty(coords, {batch, num_points}, ScalarType::Int);
  Tensor counts = empty(coords, {batch, num_voxels}, ScalarType::Int);
  dispatch_wide("voxel_plan", coords.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const T* from = data<T>(coords);
    check_finite("voxel_plan", from, coords.numel());
    std::vector<T> furthest(batch);
    parallel(batch, 16 * num_points + num_voxels, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        int32_t* cloud = mutable_data<int32_t>(voxels) + b * num_points;
        furthest[b] = plan_cloud<T>(mutable_data<T>(out) + b * 3 * num_points, cloud, from + b * 3 * num_points,
                                    data<T>(mean) + b * 3, num_points, static_cast<int32_t>(resolution), normalize);
        count_points(mutable_data<int32_t>(counts) + b * num_voxels, cloud, num_points, num_voxels);
      }
    });
    if (num_points == 0) return;
    const T* middle = data<T>(mean);
    const auto finite = [](T value) { return std::isfinite(value); };
    if (!std::all_of(middle, middle + mean.numel(), finite) || !std::all_of(furthest.begin(), furthest.end(), finite))
      refuse("voxel_plan: the coordinates are too large to have a mean and an extent: scale them down");
  });
  return {out, voxels, counts};
}

std::tuple<Tensor, Tensor> voxel_index(Tensor coords, int64_t resolution) {
  check_clouds("avg_voxelize", coords, coords);
  check_resolution("avg_voxelize", resolution);
  const int64_t batch = coords.size(0), num_points = coords.size(2), num_voxels = resolution * resolution * resolution;
  coords = contiguous(coords);
  Tensor voxels = empty(coords, {batch, num_points}, ScalarType::Int);
  Tensor counts = empty(coords, {batch, num_voxels}, ScalarType::Int);
  dispatch_index("avg_voxelize", coords.scalar_type(), [&](auto zero) {
    using I = decltype(zero);
    const I* from = data<I>(coords);
    for (int64_t i = 0; i < coords.numel(); ++i)
      if (from[i] < 0 || from[i] >= resolution)
        refuse("avg_voxelize: coordinate ", from[i], " is out of range: it must be in [0, ", resolution - 1, "]");
    parallel(batch, 4 * num_points + num_voxels, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        const I *x = from + b * 3 * num_points, *y = x + num_points, *z = y + num_points;
        int32_t* cloud = mutable_data<int32_t>(voxels) + b * num_points;
        for (int64_t n = 0; n < num_points; ++n)
          cloud[n] = static_cast<int32_t>((x[n] * resolution + y[n]) * resolution + z[n]);
        count_points(mutable_data<int32_t>(counts) + b * num_voxels, cloud, num_points, num_voxels);
      }
    });
  });
  return {voxels, counts};
}

// A plan that was not made by voxel_plan may hold anything.
void check_voxels(const char* name, const Tensor& features, const Tensor& voxels, const Tensor& counts) {
  check_index_types(name, features, voxels, counts);
  const int64_t num_voxels = counts.size(1);
  const int32_t* voxel = data<int32_t>(voxels);
  const auto is_outside = [&](int32_t v) { return v < 0 || v >= num_voxels; };
  bool inside = true;
  for (int64_t i = 0; i < voxels.numel(); ++i) inside &= !is_outside(voxel[i]);
  if (inside) return;
  const int32_t wrong = *std::find_if(voxel, voxel + voxels.numel(), is_outside);
  refuse(name, ": voxel ", wrong, " of the plan is out of range: it must be in [0, ", num_voxels - 1, "]");
}

constexpr int64_t line = 16;  // voxels of float32 in a line of the caches

// The points of every cloud by the line in which their voxel lies, [B, N], and where those of each line end.
struct ByLine {
  std::vector<int32_t> order;
  std::vector<std::vector<int32_t>> ends;
};

ByLine by_line(const Tensor& voxels, int64_t num_voxels) {
  const int64_t batch = voxels.size(0), num_points = voxels.size(1);
  ByLine lines{std::vector<int32_t>(batch * num_points), std::vector<std::vector<int32_t>>(batch)};
  parallel(batch, 4 * num_points + num_voxels / line, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const int32_t* voxel = data<int32_t>(voxels) + b * num_points;
      lines.ends[b] = sort_by_key(lines.order.data() + b * num_points, num_points, num_voxels / line + 1,
                                  [=](int64_t n) { return voxel[n] / line; });
    }
  });
  return lines;
}

#if defined(__x86_64__)
// `some` channels of one cloud, written past the caches line by line: the sums of a line stay in registers, and nothing
// is read back. Stores of whole lines are what makes this fast; with narrower ones a table of sums is as good. Every
// voxel is summed in the order of its points, as in the table.
template <int some>
__attribute__((target("avx512f"))) void average_lines(float* out, const float* values, const int32_t* order,
                                                      const int32_t* ends, const int32_t* voxel, const int32_t* counts,
                                                      int64_t num_points, int64_t num_voxels) {
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (int64_t at = 0, i = 0; at < num_voxels; at += line) {
    const int64_t end = ends[at / line];
    __m512 sums[some];
    for (int c = 0; c < some; ++c) sums[c] = _mm512_setzero_ps();
    if (i < end) {
      for (; i < end; ++i) {
        const int64_t n = order[i];
        const __m512i lane = _mm512_set1_epi32(voxel[n] - static_cast<int32_t>(at));
        const __mmask16 here = _mm512_cmpeq_epi32_mask(lanes, lane);
        for (int c = 0; c < some; ++c)
          sums[c] = _mm512_mask_add_ps(sums[c], here, sums[c], _mm512_set1_ps(values[c * num_points + n]));
      }
      const __m512i count = _mm512_loadu_si512(counts + at);
      const __mmask16 shared = _mm512_cmpgt_epi32_mask(count, _mm512_set1_epi32(1));
      const __m512 divisor = _mm512_maskz_cvtepi32_ps(shared, count);
      for (int c = 0; c < some; ++c) sums[c] = _mm512_mask_div_ps(sums[c], shared, sums[c], divisor);
    }
    for (int c = 0; c < some; ++c) _mm512_stream_ps(out + c * num_voxels + at, sums[c]);
  }
}

// Makes a large grid line by line, where the processor can and its memory is in whole lines; false where not. Of more
// points than voxels, those of one line lie too far apart to be gathered for every line.
bool voxelize_by_lines(const Tensor& out, const Tensor& features, const Tensor& voxels, const Tensor& counts) {
  const int64_t num_points = features.size(2), num_voxels = counts.size(1);
  const bool whole_lines = num_voxels % line == 0 && reinterpret_cast<uintptr_t>(out.data_ptr()) % 64 == 0;
  const bool large = out.numel() * out.element_size() > more_than_caches;
  if (features.scalar_type() != ScalarType::Float || !large || !whole_lines || num_points > num_voxels ||
      !__builtin_cpu_supports("avx512f"))
    return false;
  const ByLine lines = by_line(voxels, num_voxels);
  for_channels(features.size(0), features.size(1), num_voxels + num_points, [&](auto some, int64_t b, int64_t slab) {
    average_lines<some>(mutable_data<float>(out) + slab * num_voxels, data<float>(features) + slab * num_points,
                        lines.order.data() + b * num_points, lines.ends[b].data(),
                        data<int32_t>(voxels) + b * num_points, data<int32_t>(counts) + b * num_voxels, num_points,
                        num_voxels);
    finish_writes();
  });
  return true;
}
#else
bool voxelize_by_lines(const Tensor&, const Tensor&, const Tensor&, const Tensor&) { return false; }
#endif

void voxelize_into(const Tensor& out, const Tensor& features_, const Tensor& voxels_, const Tensor& counts_) {
  const Tensor features = contiguous(features_), voxels = contiguous(voxels_), counts = contiguous(counts_);
  const int64_t batch = features.size(0), channels = features.size(1), num_points = features.size(2);
  const int64_t num_voxels = counts.size(1);
  check_voxels("avg_voxelize", features, voxels, counts);
  if (voxels.size(1) != num_points) refuse("avg_voxelize: give one voxel for each point");
  if (voxelize_by_lines(out, features, voxels, counts)) return;
  std::vector<std::vector<std::pair<int32_t, int32_t>>> shared(batch);  // voxels of several points, and how many
  parallel(batch, num_voxels, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const int32_t* count = data<int32_t>(counts) + b * num_voxels;
      for (int64_t v = 0; v < num_voxels; ++v)
        if (count[v] > 1) shared[b].emplace_back(static_cast<int32_t>(v), count[v]);
    }
  });
  dispatch_floating("avg_voxelize", features.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const bool past_caches = out.numel() * out.element_size() > more_than_caches;
    parallel(batch * channels, num_voxels + num_points, [&](int64_t begin, int64_t end) {
      std::vector<Wide<T>> sums(num_voxels);  // zeros again after every channel, which few of them stopped being
      for (int64_t slab = begin; slab < end; ++slab) {
        const int64_t b = slab / channels;
        const T* values = data<T>(features) + slab * num_points;
        const int32_t* voxel = data<int32_t>(voxels) + b * num_points;
        T* row = mutable_data<T>(out) + slab * num_voxels;
        for (int64_t n = 0; n < num_points; ++n) sums[voxel[n]] += static_cast<Wide<T>>(values[n]);
        for (const auto& [v, count] : shared[b]) sums[v] /= static_cast<Wide<T>>(count);
        if constexpr (std::is_same_v<T, Wide<T>>) {
          write(reinterpret_cast<char*>(row), reinterpret_cast<const char*>(sums.data()), num_voxels * sizeof(T),
                past_caches);
        } else {
          std::fill_n(row, num_voxels, T(0));
          for (int64_t n = 0; n < num_points; ++n) row[voxel[n]] = static_cast<T>(sums[voxel[n]]);
        }
        for (int64_t n = 0; n < num_points; ++n) sums[voxel[n]] = 0;
      }
      finish_writes();
    });
  });
}

Tensor avg_voxelize(Tensor features, Tensor voxels, Tensor counts) {
  Tensor out = make(features, {features.size(0), features.size(1), counts.size(1)});
  voxelize_into(out, features, voxels, counts);
  return out;
}

void avg_voxelize_out(Tensor features, Tensor voxels, Tensor counts, Tensor out) {
  check_out("avg_voxelize_out", out, features, {features.size(0), features.size(1), counts.size(1)});
  voxelize_into(out, features, voxels, counts);
}

// out[n] = grad[voxel[n]] / count[n] for `some` channels; the points are visited in `order`.
template <int some, typename T>
void spread(T* __restrict out, const T* __restrict grad, const int32_t* __restrict order,
            const int32_t* __restrict voxel, const Wide<T>* __restrict count, int64_t num_points, int64_t num_voxels) {
  for (int64_t i = 0; i < num_points; ++i) {
    const int64_t n = order[i], v = voxel[n];
    for (int c = 0; c < some; ++c)
      out[c * num_points + n] = static_cast<T>(static_cast<Wide<T>>(grad[c * num_voxels + v]) / count[n]);
  }
}

void voxelize_backward_into(const Tensor& out, const Tensor& grad_, const Tensor& voxels_, const Tensor& counts_) {
  const Tensor grad = contiguous(grad_), voxels = contiguous(voxels_), counts = contiguous(counts_);
  const int64_t batch = grad.size(0), channels = grad.size(1), num_points = voxels.size(1);
  const int64_t num_voxels = counts.size(1);
  check_voxels("avg_voxelize", grad, voxels, counts);
  if (grad.size(2) != num_voxels) refuse("avg_voxelize: the gradient must be that of a grid of the plan");
  const std::vector<int32_t> order = by_line(voxels, num_voxels).order;
  dispatch_floating("avg_voxelize", grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    std::vector<Wide<T>> count(batch * num_points);
    for (int64_t i = 0; i < batch * num_points; ++i)
      count[i] = static_cast<Wide<T>>(data<int32_t>(counts)[i / num_points * num_voxels + data<int32_t>(voxels)[i]]);
    for_channels(batch, channels, 2 * num_points, [&](auto some, int64_t b, int64_t slab) {
      spread<some>(mutable_data<T>(out) + slab * num_points, data<T>(grad) + slab * num_voxels,
                   order.data() + b * num_points, data<int32_t>(voxels) + b * num_points, count.data() + b * num_points,
                   num_points, num_voxels);
    });
  });
}

Tensor avg_voxelize_backward(Tensor grad, Tensor voxels, Tensor counts) {
  Tensor out = make(grad, {grad.size(0), grad.size(1), voxels.size(1)});
  voxelize_backward_into(out, grad, voxels, counts);
  return out;
}

void avg_voxelize_backward_out(Tensor grad, Tensor voxels, Tensor counts, Tensor out) {
  check_out("avg_voxelize_backward_out", out, grad, {grad.size(0), grad.size(1), voxels.size(1)});
  voxelize_backward_into(out, grad, voxels, counts);
}

}  // namespace
}  // namespace zoo

STABLE_TORCH_LIBRARY_IMPL(zoo, CPU, m) {
  m.impl("voxel_plan", TORCH_BOX(&zoo::voxel_plan));
  m.impl("voxel_index", TORCH_BOX(&zoo::voxel_index));
  m.impl("avg_voxelize", TORCH_BOX(&zoo::avg_voxelize));
  m.impl("avg_voxelize_out", TORCH_BOX(&zoo::avg_voxelize_out));
  m.impl("avg_voxelize_backward", TORCH_BOX(&zoo::avg_voxelize_backward));
  m.impl("avg_voxelize_backward_out", TORCH_BOX(&zoo::avg_voxelize_backward_out));
}
