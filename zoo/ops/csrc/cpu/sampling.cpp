// Furthest point sampling (PointNet++, section 3.2), exactly: few points are all looked at, of many only those in boxes
// that the newest sample can be near to. (Boxes as in Han et al. 2023, QuickFPS.)
#include <limits>
#include <numeric>
#include <vector>

#include "common.h"

namespace zoo {
namespace {

constexpr int64_t points_in_a_box = 128;
constexpr int64_t worth_boxes = 8192;  // points; fewer are looked at in one go

// Points in one box, each with its squared distance to the samples so far; padded to whole vectors with points that are
// infinitely near to them, and so never chosen.
template <typename T>
struct Box {
  int64_t first, count;  // in the order of the boxes; count is a whole number of vectors
  T furthest;            // the largest of the distances
  int64_t where;         // and whose it is
};

// Takes the distance to a new sample into account; which point is now the furthest, the first of several.
template <typename T>
ZOO_SIMD void update(Box<T>& box, T* nearest, const T* xs, const T* ys, const T* zs, T x, T y, T z) {
  using Vec = typename Simd<T>::Vec;
  using IntVec = typename Simd<T>::IntVec;
  using Int = typename Simd<T>::Int;
  constexpr int64_t lanes = Simd<T>::lanes;
  Vec best = Vec{} - std::numeric_limits<T>::infinity();
  IntVec best_step{};
  const int64_t steps = box.count / lanes;
  for (int64_t step = 0; step < steps; ++step) {
    const int64_t i = box.first + step * lanes;
    const Vec dx = *reinterpret_cast<const Vec*>(xs + i) - x, dy = *reinterpret_cast<const Vec*>(ys + i) - y,
              dz = *reinterpret_cast<const Vec*>(zs + i) - z;
    const Vec d = dx * dx + dy * dy + dz * dz;
    Vec now = *reinterpret_cast<Vec*>(nearest + i);
    now = d < now ? d : now;
    *reinterpret_cast<Vec*>(nearest + i) = now;
    const IntVec further = now > best;
    best = further ? now : best;
    best_step = further ? IntVec{} + static_cast<Int>(step) : best_step;
  }
  box.furthest = best[0];
  int64_t at = best_step[0] * lanes;
  for (int64_t lane = 1; lane < lanes; ++lane) {
    const int64_t here = best_step[lane] * lanes + lane;
    if (best[lane] > box.furthest || (best[lane] == box.furthest && here < at)) {
      box.furthest = best[lane];
      at = here;
    }
  }
  box.where = box.first + at;
}

// Memory that begins where a vector may.
template <typename T>
class Aligned {
 public:
  explicit Aligned(int64_t size, T value) : storage_(size + Simd<T>::lanes, value) {
    const auto address = reinterpret_cast<uintptr_t>(storage_.data());
    first_ = storage_.data() + (64 - address % 64) % 64 / sizeof(T);
  }
  T* get() { return first_; }

 private:
  std::vector<T> storage_;
  T* first_;
};

// The squared distance of a sample to each box is at least bound[box].
template <typename T>
ZOO_SIMD void bound_boxes(T* __restrict bound, const T* __restrict low, const T* __restrict high, int64_t num_boxes,
                          T x, T y, T z) {
  for (int64_t i = 0; i < num_boxes; ++i) {
    const T ax = low[i] - x, bx = x - high[i];
    const T ay = low[num_boxes + i] - y, by = y - high[num_boxes + i];
    const T az = low[2 * num_boxes + i] - z, bz = z - high[2 * num_boxes + i];
    T dx = ax > bx ? ax : bx, dy = ay > by ? ay : by, dz = az > bz ? az : bz;
    dx = dx > 0 ? dx : T(0);
    dy = dy > 0 ? dy : T(0);
    dz = dz > 0 ? dz : T(0);
    bound[i] = dx * dx + dy * dy + dz * dz;
  }
}

// Cuts the points order[begin, end) in halves across their widest extent until a box takes them.
template <typename T>
void cut(std::vector<std::pair<int64_t, int64_t>>& leaves, std::vector<int32_t>& order, const T* points,
         int64_t num_points, int64_t begin, int64_t end) {
  if (end - begin <= points_in_a_box) {
    std::sort(order.begin() + begin, order.begin() + end);  // the first of several furthest points is the lowest index
    leaves.emplace_back(begin, end);
    return;
  }
  int widest = 0;
  T extent = -1;
  for (int axis = 0; axis < 3; ++axis) {
    T low = std::numeric_limits<T>::infinity(), high = -low;
    for (int64_t i = begin; i < end; ++i) {
      const T value = points[axis * num_points + order[i]];
      low = std::min(low, value);
      high = std::max(high, value);
    }
    if (high - low > extent) {
      extent = high - low;
      widest = axis;
    }
  }
  const T* values = points + widest * num_points;
  const int64_t middle = begin + (end - begin) / 2;
  std::nth_element(order.begin() + begin, order.begin() + middle, order.begin() + end,
                   [values](int32_t a, int32_t b) { return values[a] < values[b]; });
  cut(leaves, order, points, num_points, begin, middle);
  cut(leaves, order, points, num_points, middle, end);
}

template <typename T>
void sample(int64_t* out, const T* points, int64_t num_points, int64_t num_samples) {
  constexpr int64_t lanes = Simd<T>::lanes;
  std::vector<int32_t> order(num_points);
  std::iota(order.begin(), order.end(), 0);
  std::vector<std::pair<int64_t, int64_t>> leaves;
  if (num_points < worth_boxes)
    leaves.emplace_back(0, num_points);
  else
    cut(leaves, order, points, num_points, 0, num_points);

  const int64_t num_boxes = static_cast<int64_t>(leaves.size());
  std::vector<Box<T>> boxes;
  std::vector<T> low(3 * num_boxes), high(3 * num_boxes), bound(num_boxes, 0);
  int64_t padded = 0;
  for (const auto& [begin, end] : leaves) {
    const int64_t count = (end - begin + lanes - 1) / lanes * lanes;
    boxes.push_back({padded, count, std::numeric_limits<T>::infinity(), padded});
    padded += count;
  }
  constexpr T infinity = std::numeric_limits<T>::infinity();
  Aligned<T> coords(3 * padded, 0), distances(padded, -infinity);
  T *xs = coords.get(), *ys = xs + padded, *zs = ys + padded, *nearest = distances.get();
  std::vector<int32_t> number(padded, 0);
  for (int64_t i = 0; i < num_boxes; ++i) {
    const auto [begin, end] = leaves[i];
    for (int axis = 0; axis < 3; ++axis) {
      T least = infinity, most = -infinity;
      for (int64_t n = begin; n < end; ++n) {
        const T value = points[axis * num_points + order[n]];
        xs[axis * padded + boxes[i].first + n - begin] = value;
        least = std::min(least, value);
        most = std::max(most, value);
      }
      low[axis * num_boxes + i] = least;
      high[axis * num_boxes + i] = most;
    }
    for (int64_t n = begin; n < end; ++n) {
      number[boxes[i].first + n - begin] = order[n];
      nearest[boxes[i].first + n - begin] = infinity;
    }
  }

  int64_t chosen = 0;
  for (int64_t j = 0; j < num_samples; ++j) {
    out[j] = chosen;
    if (j + 1 == num_samples) break;
    const T x = points[chosen], y = points[num_points + chosen], z = points[2 * num_points + chosen];
    if (num_boxes > 1) bound_boxes(bound.data(), low.data(), high.data(), num_boxes, x, y, z);
    T furthest = -infinity;
    for (int64_t i = 0; i < num_boxes; ++i) {
      Box<T>& box = boxes[i];
      if (bound[i] < box.furthest) update(box, nearest, xs, ys, zs, x, y, z);
      const int64_t candidate = number[box.where];
      if (box.furthest > furthest || (box.furthest == furthest && candidate < chosen)) {
        furthest = box.furthest;
        chosen = candidate;
      }
    }
  }
}

Tensor furthest_point_sample(Tensor points, int64_t num_samples) {
  check_samples(points, num_samples);
  points = contiguous(points);
  const int64_t batch = points.size(0), num_points = points.size(2);
  Tensor out = empty(points, {batch, num_samples}, ScalarType::Long);
  dispatch_wide("furthest_point_sample", points.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    check_finite("furthest_point_sample", data<T>(points), points.numel());
    if (num_samples == 0) return;
    parallel(batch, num_points * num_samples, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        sample(mutable_data<int64_t>(out) + b * num_samples, data<T>(points) + b * 3 * num_points, num_points,
               num_samples);
    });
  });
  return out;
}

}  // namespace
}  // namespace zoo

STABLE_TORCH_LIBRARY_IMPL(zoo, CPU, m) { m.impl("furthest_point_sample", TORCH_BOX(&zoo::furthest_point_sample)); }
