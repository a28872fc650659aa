// Ball query and the three nearest centres (PointNet++, sections 3.2 and 3.4): a warp, or a part of one, for each
// query.
#include "common.cuh"

namespace zoo {
namespace {

// A warp looks at 32 points at a time, in index order, until the ball is full.
template <typename T>
__global__ void __launch_bounds__(threads)
    ball_query_kernel(int64_t* out, const T* centers, const T* points, T reach, int64_t num_centers, int64_t num_points,
                      int64_t num_neighbors, int64_t queries) {
  const int64_t query = (static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x) / warp;
  const int lane = threadIdx.x % warp;
  if (query >= queries) return;
  const int64_t b = query / num_centers, m = query % num_centers;
  const T* at = centers + b * 3 * num_centers + m;
  const T center[3] = {at[0], at[num_centers], at[2 * num_centers]};
  const T *x = points + b * 3 * num_points, *y = x + num_points, *z = y + num_points;
  int64_t* row = out + query * num_neighbors;
  int64_t found = 0, nearest = 0;
  for (int64_t first = 0; first < num_points && found < num_neighbors; first += warp) {
    const int64_t n = first + lane;
    const bool inside = n < num_points && squared_norm(center[0] - x[n], center[1] - y[n], center[2] - z[n]) < reach;
    const unsigned vote = __ballot_sync(all_lanes, inside);
    if (vote == 0) continue;
    if (found == 0) nearest = first + __ffs(static_cast<int>(vote)) - 1;
    const int64_t place = found + __popc(vote & ((1u << lane) - 1));
    if (inside && place < num_neighbors) row[place] = n;
    found += __popc(vote);
  }
  for (int64_t place = found + lane; place < num_neighbors; place += warp) row[place] = nearest;
}

Tensor ball_query(Tensor centers, Tensor points, double radius, int64_t num_neighbors) {
  check_clouds("ball_query", centers, points);
  const DeviceGuard guard(points.get_device_index());
  centers = contiguous(centers);
  points = contiguous(points);
  const int64_t batch = centers.size(0), num_centers = centers.size(2), num_points = points.size(2);
  Tensor out = empty(centers, {batch, num_centers, num_neighbors}, ScalarType::Long);
  if (out.numel() == 0) return out;
  dispatch_wide("ball_query", points.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const T reach = static_cast<T>(radius) * static_cast<T>(radius);
    const int64_t queries = batch * num_centers, a_block = threads / warp;
    launch(&ball_query_kernel<T>, (queries + a_block - 1) / a_block, threads, stream_of(points),
           mutable_data<int64_t>(out), data<T>(centers), data<T>(points), reach, num_centers, num_points, num_neighbors,
           queries);
  });
  return out;
}

constexpr int team = 8;  // lanes that look for the neighbours of one point together

template <typename T>
struct Candidate {
  T distance;
  int32_t index;

  __device__ bool before(const Candidate& other) const {
    return distance < other.distance || (distance == other.distance && index < other.index);
  }
};

// Each lane of a team keeps the three nearest of its share; the team then takes the best three times. What is missing
// is infinitely far, at index 0; of several as near the first counts.
template <typename T>
__global__ void __launch_bounds__(threads)
    three_nn_kernel(int32_t* indices, T* weights, const T* points, const T* centers, int64_t num_points,
                    int64_t num_centers, int64_t queries) {
  const int64_t query = (static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x) / team;
  const int lane = threadIdx.x % team;
  const bool real = query < queries;  // the others stay for the shuffles
  const int64_t b = real ? query / num_points : 0, n = real ? query % num_points : 0;
  const T* at = points + b * 3 * num_points + n;
  const T point[3] = {at[0], at[num_points], at[2 * num_points]};
  const T *x = centers + b * 3 * num_centers, *y = x + num_centers, *z = y + num_centers;
  constexpr int32_t nobody = 0x7fffffff;
  const T infinity = static_cast<T>(INFINITY);
  Candidate<T> best[3] = {{infinity, nobody}, {infinity, nobody}, {infinity, nobody}};
  for (int64_t m = lane; m < num_centers; m += team) {
    const Candidate<T> here{squared_norm(point[0] - x[m], point[1] - y[m], point[2] - z[m]), static_cast<int32_t>(m)};
    if (!(here.distance < best[2].distance)) continue;
    best[2] = here;
    if (best[2].before(best[1])) {
      const Candidate<T> swap = best[1];
      best[1] = best[2];
      best[2] = swap;
    }
    if (best[1].before(best[0])) {
      const Candidate<T> swap = best[0];
      best[0] = best[1];
      best[1] = swap;
    }
  }
  Candidate<T> nearest[3];
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    Candidate<T> winner = best[0];
#pragma unroll
    for (int step = team / 2; step > 0; step /= 2) {
      const Candidate<T> other{__shfl_xor_sync(all_lanes, winner.distance, step),
                               __shfl_xor_sync(all_lanes, winner.index, step)};
      if (other.before(winner)) winner = other;
    }
    nearest[k] = winner;
    if (winner.index == best[0].index) {  // it was this lane's: the next one takes its place
      best[0] = best[1];
      best[1] = best[2];
      best[2] = {infinity, nobody};
    }
  }
  if (!real || lane != 0) return;
  T d[3];
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    d[k] = clamp(nearest[k].distance, T(1e-10), T(1e10));
    indices[(b * 3 + k) * num_points + n] = nearest[k].index == nobody ? 0 : nearest[k].index;
  }
  const T sum = d[0] * d[1] + d[0] * d[2] + d[1] * d[2];
  weights[b * 3 * num_points + n] = d[1] * d[2] / sum;
  weights[(b * 3 + 1) * num_points + n] = d[0] * d[2] / sum;
  weights[(b * 3 + 2) * num_points + n] = d[0] * d[1] / sum;
}

std::tuple<Tensor, Tensor> three_nn(Tensor points, Tensor centers) {
  check_clouds("three_nn_interpolate", points, centers);
  const DeviceGuard guard(points.get_device_index());
  points = contiguous(points);
  centers = contiguous(centers);
  const int64_t batch = points.size(0), num_points = points.size(2), num_centers = centers.size(2);
  Tensor indices = empty(points, {batch, 3, num_points}, ScalarType::Int);
  Tensor weights = empty(points, {batch, 3, num_points});
  if (indices.numel() == 0) return {indices, weights};
  dispatch_wide("three_nn_interpolate", points.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const int64_t queries = batch * num_points, a_block = threads / team;
    launch(&three_nn_kernel<T>, (queries + a_block - 1) / a_block, threads, stream_of(points),
           mutable_data<int32_t>(indices), mutable_data<T>(weights), data<T>(points), data<T>(centers), num_points,
           num_centers, queries);
  });
  return {indices, weights};
}

}  // namespace
}  // namespace zoo

STABLE_TORCH_LIBRARY_IMPL(zoo, CUDA, m) {
  m.impl("ball_query", TORCH_BOX(&zoo::ball_query));
  m.impl("three_nn", TORCH_BOX(&zoo::three_nn));
}
