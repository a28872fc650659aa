// Ball query and the three nearest centres (PointNet++, sections 3.2 and 3.4), a block of points at a time.
#include <cstring>
#include <limits>
#include <vector>

#include "common.h"

namespace zoo {
namespace {

constexpr int64_t block = 64;

// The first `wanted` of the points [3, N] that lie nearer to a centre than the square root of `reach`; how many there
// are.
template <typename T>
ZOO_SIMD int64_t first_inside(int64_t* out, const T* center, const T* points, int64_t num_points, T reach,
                              int64_t wanted) {
  const T *x = points, *y = points + num_points, *z = points + 2 * num_points;
  int64_t found = 0;
  alignas(64) uint8_t inside[block];
  for (int64_t first = 0; first < num_points && found < wanted; first += block) {
    const int64_t count = std::min(block, num_points - first);
    if (count < block) std::memset(inside, 0, block);
    for (int64_t i = 0; i < count; ++i) {
      const T dx = center[0] - x[first + i], dy = center[1] - y[first + i], dz = center[2] - z[first + i];
      inside[i] = dx * dx + dy * dy + dz * dz < reach;
    }
    for (int64_t word = 0; word < block; word += 8) {
      uint64_t bits;
      std::memcpy(&bits, inside + word, 8);
      for (; bits != 0 && found < wanted; bits &= bits - 1) out[found++] = first + word + __builtin_ctzll(bits) / 8;
    }
  }
  return found;
}

Tensor ball_query(Tensor centers, Tensor points, double radius, int64_t num_neighbors) {
  check_clouds("ball_query", centers, points);
  centers = contiguous(centers);
  points = contiguous(points);
  const int64_t batch = centers.size(0), num_centers = centers.size(2), num_points = points.size(2);
  Tensor out = empty(centers, {batch, num_centers, num_neighbors}, ScalarType::Long);
  dispatch_wide("ball_query", points.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    check_finite("ball_query", data<T>(centers), centers.numel());
    check_finite("ball_query", data<T>(points), points.numel());
    const T reach = static_cast<T>(radius) * static_cast<T>(radius);
    parallel(batch * num_centers, num_points, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t b = i / num_centers, m = i % num_centers;
        const T* at = data<T>(centers) + b * 3 * num_centers + m;
        const T center[3] = {at[0], at[num_centers], at[2 * num_centers]};
        int64_t* row = mutable_data<int64_t>(out) + i * num_neighbors;
        const int64_t found =
            first_inside(row, center, data<T>(points) + b * 3 * num_points, num_points, reach, num_neighbors);
        std::fill(row + found, row + num_neighbors, found > 0 ? row[0] : 0);
      }
    });
  });
  return out;
}

// The three centres nearest to each of up to `lanes` points: squared distances, nearest first, and indices. What is
// missing is infinitely far, at index 0; of several as near the first counts.
template <typename T>
ZOO_SIMD void nearest_three(T (*distance)[Simd<T>::lanes], typename Simd<T>::Int (*index)[Simd<T>::lanes],
                            const T (*at)[Simd<T>::lanes], const T* centers, int64_t num_centers) {
  using Vec = typename Simd<T>::Vec;
  using IntVec = typename Simd<T>::IntVec;
  Vec x, y, z;
  std::memcpy(&x, at[0], sizeof x);
  std::memcpy(&y, at[1], sizeof y);
  std::memcpy(&z, at[2], sizeof z);
  const Vec far = Vec{} + std::numeric_limits<T>::infinity();
  Vec d0 = far, d1 = far, d2 = far;
  IntVec i0{}, i1{}, i2{};
  for (int64_t m = 0; m < num_centers; ++m) {
    const Vec dx = x - centers[m], dy = y - centers[num_centers + m], dz = z - centers[2 * num_centers + m];
    const Vec d = dx * dx + dy * dy + dz * dz;
    const IntVec here = IntVec{} + static_cast<typename Simd<T>::Int>(m);
    const IntVec nearer0 = d < d0, nearer1 = d < d1, nearer2 = d < d2;
    d2 = nearer1 ? d1 : (nearer2 ? d : d2);
    i2 = nearer1 ? i1 : (nearer2 ? here : i2);
    d1 = nearer0 ? d0 : (nearer1 ? d : d1);
    i1 = nearer0 ? i0 : (nearer1 ? here : i1);
    d0 = nearer0 ? d : d0;
    i0 = nearer0 ? here : i0;
  }
  const Vec distances[3] = {d0, d1, d2};
  const IntVec indices[3] = {i0, i1, i2};
  std::memcpy(distance, distances, sizeof distances);
  std::memcpy(index, indices, sizeof indices);
}

// Indices int32 [B, 3, N] of the nearest centres, and weights [B, 3, N] by 1/d^2 (equation 2).
std::tuple<Tensor, Tensor> three_nn(Tensor points, Tensor centers) {
  check_clouds("three_nn_interpolate", points, centers);
  points = contiguous(points);
  centers = contiguous(centers);
  const int64_t batch = points.size(0), num_points = points.size(2), num_centers = centers.size(2);
  Tensor indices = empty(points, {batch, 3, num_points}, ScalarType::Int);
  Tensor weights = empty(points, {batch, 3, num_points});
  dispatch_wide("three_nn_interpolate", points.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    constexpr int64_t lanes = Simd<T>::lanes;
    check_finite("three_nn_interpolate", data<T>(points), points.numel());
    check_finite("three_nn_interpolate", data<T>(centers), centers.numel());
    const int64_t blocks = (num_points + lanes - 1) / lanes;
    parallel(batch * blocks, lanes * num_centers, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t b = i / blocks, first = i % blocks * lanes, count = std::min(lanes, num_points - first);
        T at[3][lanes] = {}, distance[3][lanes];
        typename Simd<T>::Int index[3][lanes];
        for (int axis = 0; axis < 3; ++axis)
          std::copy_n(data<T>(points) + (b * 3 + axis) * num_points + first, count, at[axis]);
        nearest_three<T>(distance, index, at, data<T>(centers) + b * 3 * num_centers, num_centers);
        int32_t* to_index = mutable_data<int32_t>(indices) + b * 3 * num_points + first;
        T* to_weight = mutable_data<T>(weights) + b * 3 * num_points + first;
        for (int64_t n = 0; n < count; ++n) {
          T d[3];
          for (int k = 0; k < 3; ++k) {
            d[k] = std::clamp(distance[k][n], T(1e-10), T(1e10));
            to_index[k * num_points + n] = static_cast<int32_t>(index[k][n]);
          }
          const T sum = d[0] * d[1] + d[0] * d[2] + d[1] * d[2];
          to_weight[n] = d[1] * d[2] / sum;
          to_weight[num_points + n] = d[0] * d[2] / sum;
          to_weight[2 * num_points + n] = d[0] * d[1] / sum;
        }
      }
    });
  });
  return {indices, weights};
}

}  // namespace
}  // namespace zoo

STABLE_TORCH_LIBRARY_IMPL(zoo, CPU, m) {
  m.impl("ball_query", TORCH_BOX(&zoo::ball_query));
  m.impl("three_nn", TORCH_BOX(&zoo::three_nn));
}
