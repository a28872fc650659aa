// Products of small tiles, from which kernels make matrix products of rows that they gather themselves.
#pragma once

#include <array>
#include <limits>

#include "common.h"

namespace zoo {

// Some steps of a sum: `depth` columns of a matrix whose rows lie `a_step` apart, or, where it lies by columns, its
// columns; zeros where there is no `a`.
template <typename W>
struct Piece {
  const W* a = nullptr;
  int64_t a_step = 0, depth = 0;
};

constexpr int most_pieces = 3;
template <typename W>
using Pieces = std::array<Piece<W>, most_pieces>;

// c[i][j] = by_row[i], or by_col[j] where there is none, + the sum over p of a[i][p] b[p][j], within [low, high], where
// `a` is the pieces side by side. The rows of `b` lie `b_step` apart, and those of `c` `c_step`; the columns of `b` lie
// side by side, or, where they come in blocks of a register each, the blocks `b_block` apart, for
// which there is another loop: `a` lies by rows then.
template <typename W>
struct DenseTile {
  Pieces<W> pieces;
  const W* b;
  int64_t b_step;
  W* c;
  int64_t c_step;
  const W *by_row, *by_col;
  W low, high;
  bool by_columns = false;
  int64_t b_block = 0;
  bool onto = false;           // what is in c counts instead of by_row and by_col
  const char* soon = nullptr;  // memory that is read next, of which a piece comes with every step of the sum
  int64_t soon_step = 0;
};

// What the machine multiplies best: tiles of so many rows and columns, and of half the columns for what is left over.
template <typename W>
struct TileProduct {
  int64_t rows, cols, lanes;
  void (*multiply)(const DenseTile<W>&);
  const TileProduct* half;

  const TileProduct& fitting(int64_t columns) const {
    return half != nullptr && columns <= half->cols ? half->fitting(columns) : *this;
  }
};

// Products and sums are rounded once, where the processor can: a tile is the one place that may.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=fast")
#endif

template <typename W, int bytes, int rows, int vectors, bool by_columns, bool in_blocks>
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
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) {
      if (tile.onto)
        sums[i][j] = *reinterpret_cast<const Anywhere*>(tile.c + i * tile.c_step + j * lanes);
      else if (tile.by_row != nullptr)
        sums[i][j] = Vec{} + tile.by_row[i];
      else
        sums[i][j] = *reinterpret_cast<const Anywhere*>(tile.by_col + j * lanes);
    }
  // What will be written to comes meanwhile; else the processor would wait for it in the end.
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < bytes * vectors; j += 64)
      __builtin_prefetch(reinterpret_cast<char*>(tile.c + i * tile.c_step) + j, 1);
  const W* b = tile.b;
  const int64_t b_step = tile.b_step, b_block = in_blocks ? tile.b_block : lanes,
                soon_step = tile.soon == nullptr ? 0 : tile.soon_step;
  const char* soon = tile.soon == nullptr ? reinterpret_cast<const char*>(b) : tile.soon;
  for (const Piece<W>& piece : tile.pieces) {
    if (piece.a == nullptr) {
      b += piece.depth * b_step;
      continue;
    }
    const W* a = piece.a;
    const int64_t a_step = piece.a_step;
    for (int64_t p = 0; p < piece.depth; ++p) {
      __builtin_prefetch(soon);
      soon += soon_step;
      Vec right[vectors];
#pragma GCC unroll 4
      for (int j = 0; j < vectors; ++j) right[j] = *reinterpret_cast<const Anywhere*>(b + j * b_block);
#pragma GCC unroll 16
      for (int i = 0; i < rows; ++i) {
        const W left = by_columns ? a[i] : a[i * a_step];
#pragma GCC unroll 4
        for (int j = 0; j < vectors; ++j) sums[i][j] += left * right[j];
      }
      a += by_columns ? a_step : 1;
      b += b_step;
    }
  }
  const Vec low = Vec{} + tile.low, high = Vec{} + tile.high;
  if (tile.low > -std::numeric_limits<W>::infinity())
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < vectors; ++j) sums[i][j] = sums[i][j] < low ? low : sums[i][j];  // not what is no number
  if (tile.high < std::numeric_limits<W>::infinity())
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < vectors; ++j) sums[i][j] = sums[i][j] > high ? high : sums[i][j];
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) *reinterpret_cast<Anywhere*>(tile.c + i * tile.c_step + j * lanes) = sums[i][j];
}

#define ZOO_TILE(name, target, bytes, rows, vectors, half)                                     \
  template <typename W>                                                                        \
  target void name(const DenseTile<W>& tile) {                                                 \
    if (tile.by_columns)                                                                       \
      multiply_tile<W, bytes, rows, vectors, true, false>(tile);                               \
    else if (tile.b_block != 0)                                                                \
      multiply_tile<W, bytes, rows, vectors, false, true>(tile);                               \
    else                                                                                       \
      multiply_tile<W, bytes, rows, vectors, false, false>(tile);                              \
  }                                                                                            \
  template <typename W>                                                                        \
  constexpr TileProduct<W> name##_product{rows, vectors * bytes / static_cast<int>(sizeof(W)), \
                                          bytes / static_cast<int>(sizeof(W)), name<W>, half};

// As many sums as the registers hold.
ZOO_TILE(tile_16, , 16, 6, 2, nullptr)
#if defined(__x86_64__)
ZOO_TILE(tile_32_half, __attribute__((target("avx2,fma"))), 32, 6, 1, nullptr)
ZOO_TILE(tile_32, __attribute__((target("avx2,fma"))), 32, 6, 2, &tile_32_half_product<W>)
ZOO_TILE(tile_64_quarter, __attribute__((target("avx512f"))), 64, 6, 1, nullptr)
ZOO_TILE(tile_64_half, __attribute__((target("avx512f"))), 64, 6, 2, &tile_64_quarter_product<W>)
ZOO_TILE(tile_64, __attribute__((target("avx512f"))), 64, 6, 4, &tile_64_half_product<W>)
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
