// Weighted sums over a few columns of a table, and their transpose, of which interpolation is made; and tables of sums.
#pragma once

#include <vector>

#include "common.h"

namespace zoo {

// out[n] = sum over k of weights[k][n] * table[indices[k][n]], for one channel.
template <int K, typename T, typename In>
ZOO_SIMD void gather_weighted(T* __restrict out, const In* __restrict table, const int32_t* __restrict indices,
                              const Wide<T>* __restrict weights, int64_t count) {
  for (int64_t n = 0; n < count; ++n) {
    Wide<T> sum = 0;
    for (int k = 0; k < K; ++k) sum += weights[k * count + n] * static_cast<Wide<T>>(table[indices[k * count + n]]);
    out[n] = static_cast<T>(sum);
  }
}

// table[indices[k][n]] += weights[k][n] * grad[n], point by point: the order of the sums is always the same.
template <int K, typename T>
void scatter_weighted(Wide<T>* __restrict table, const T* __restrict grad, const int32_t* __restrict indices,
                      const Wide<T>* __restrict weights, int64_t count) {
  for (int64_t n = 0; n < count; ++n)
    for (int k = 0; k < K; ++k) table[indices[k * count + n]] += weights[k * count + n] * static_cast<Wide<T>>(grad[n]);
}

// One table of sums for every channel: f(slab, table) makes `work` additions to a zeroed `table` [size], which becomes
// out[slab].
template <typename T, typename F>
void accumulate_slabs(T* out, int64_t slabs, int64_t size, int64_t work, const F& f) {
  parallel(slabs, size + work, [&](int64_t begin, int64_t end) {
    std::vector<Wide<T>> scratch(std::is_same_v<T, Wide<T>> ? 0 : size);
    for (int64_t slab = begin; slab < end; ++slab) {
      T* row = out + slab * size;
      Wide<T>* table;
      if constexpr (std::is_same_v<T, Wide<T>>)
        table = row;
      else
        table = scratch.data();
      std::fill_n(table, size, Wide<T>(0));
      f(slab, table);
      if constexpr (!std::is_same_v<T, Wide<T>>) convert(row, table, size);
    }
  });
}

}  // namespace zoo
