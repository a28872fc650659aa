// Products of small tiles, from which kernels make matrix products of rows that they gather themselves.
#pragma once

#include "common.h"

namespace zoo {

// c[i][j] = by_row[i] + by_col[j] + the sum over p < depth of a[i][p] b[p][j], within [low, high]. The rows of `a` lie
// `a_step` apart, or, where it lies `by_columns`, its columns; the rows of `b` lie `b_step` apart.
template <typename W>
struct DenseTile {
  const W *a, *b;
  int64_t a_step, b_step, depth;
  bool by_columns;
  W* const* c;  // where every row is to be put
  const W *by_row, *by_col;
  W low, high;
  bool onto = false;  // what is in c counts instead of by_row and by_col
};

// What the machine multiplies best: tiles of so many rows and columns.
template <typename W>
struct TileProduct {
  int64_t rows, cols;
  void (*multiply)(const DenseTile<W>&);
};

// Products and sums are rounded once, where the processor can: a tile is the one place that may.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=fast")
#endif

template <typename W, int bytes, int rows, int vectors, bool by_columns>
inline __attribute__((always_inline)) void multiply_tile(const DenseTile<W>& tile) {
#if defined(__clang__)
#pragma clang fp contract(fast)
#endif
  typedef W Vec __attribute__((vector_size(bytes)));
  typedef W Anywhere __attribute__((vector_size(bytes), aligned(sizeof(W))));
  constexpr int lanes = bytes / sizeof(W);
  Vec sums[rows][vectors];
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < vectors; ++j) {
      if (tile.onto)
        sums[i][j] = *reinterpret_cast<const Anywhere*>(tile.c[i] + j * lanes);
      else
        sums[i][j] = *reinterpret_cast<const Anywhere*>(tile.by_col + j * lanes) + tile.by_row[i];
    }
  // What will be written to comes meanwhile; else the processor would wait for it in the end.
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < bytes * vectors; j += 64) __builtin_prefetch(reinterpret_cast<char*>(tile.c[i]) + j, 1);
  const W *a = tile.a, *b = tile.b;
  const int64_t a_step = tile.a_step, b_step = tile.b_step;
  for (int64_t p = 0; p < tile.depth; ++p) {
    Vec right[vectors];
#pragma GCC unroll 2
    for (int j = 0; j < vectors; ++j) right[j] = *reinterpret_cast<const Anywhere*>(b + j * lanes);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      const W left = by_columns ? a[i] : a[i * a_step];
#pragma GCC unroll 2
      for (int j = 0; j < vectors; ++j) sums[i][j] += left * right[j];
    }
    a += by_columns ? a_step : 1;
    b += b_step;
  }
  const Vec low = Vec{} + tile.low, high = Vec{} + tile.high;
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < vectors; ++j) {
      Vec sum = sums[i][j];  // one that is no number stays so
      sum = sum < low ? low : sum;
      sum = sum > high ? high : sum;
      *reinterpret_cast<Anywhere*>(tile.c[i] + j * lanes) = sum;
    }
}

#define ZOO_TILE(name, target, bytes, rows, vectors)       \
  template <typename W>                                    \
  target void name(const DenseTile<W>& tile) {             \
    if (tile.by_columns)                                   \
      multiply_tile<W, bytes, rows, vectors, true>(tile);  \
    else                                                   \
      multiply_tile<W, bytes, rows, vectors, false>(tile); \
  }                                                        \
  template <typename W>                                    \
  constexpr TileProduct<W> name##_product{rows, vectors * bytes / static_cast<int>(sizeof(W)), name<W>};

// As many sums as the registers hold.
ZOO_TILE(tile_16, , 16, 6, 2)
#if defined(__x86_64__)
ZOO_TILE(tile_32, __attribute__((target("avx2,fma"))), 32, 6, 2)
ZOO_TILE(tile_64, __attribute__((target("avx512f"))), 64, 14, 2)
#endif
#undef ZOO_TILE

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif

template <typename W>
const TileProduct<W>& tile_product() {
#if defined(__x86_64__)
  static const TileProduct<W>& best = __builtin_cpu_supports("avx512f") ? tile_64_product<W>
                                      : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
                                          ? tile_32_product<W>
                                          : tile_16_product<W>;
  return best;
#else
  return tile_16_product<W>;
#endif
}

}  // namespace zoo
