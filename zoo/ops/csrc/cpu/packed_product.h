// Products of rows that lie side by side with packed weights: float32, and bfloat16 where there are units for it.
#pragma once

#include "dense_tile.h"
#include "packing.h"
#include "tiles.h"

namespace zoo {

// The depth of a product comes in whole steps of so many values.
template <typename T>
constexpr int64_t depth_step = 64 / static_cast<int64_t>(sizeof(T));

// Sums are made in squares of so many rows and columns, where they are not left to be found in memory.
constexpr int64_t side_of_square = 32;

// c[rows, columns] = bias + a[rows, depth] times weights, which come in blocks of `lanes` columns, see pack in
// zoo/ops/branch.py. Of `a` and `c` rows to a whole number of tiles (most_rows) can be read and written.
template <typename T>
struct PackedProduct {
  using Value = T;
  using Sum = float;
  const T* a;
  int64_t a_step, rows, depth;
  const T* weights;
  int64_t block;  // values from one to the next
  int64_t columns;
  const float* bias;
  float* c = nullptr;
  int64_t c_step = 0;
  float low = -std::numeric_limits<float>::infinity(), high = -low;  // that sums of float32 are brought within
};

inline void multiply_packed(const PackedProduct<float>& p) {
  constexpr int64_t most_depth = 128;
  const TileProduct<float>& product = tile_product<float>();
  DenseTile<float> tile{};
  tile.b_step = lanes;
  tile.soon_step = lanes * sizeof(float);
  tile.b_block = product.lanes == lanes ? p.block : 0;
  tile.c_step = p.c_step;
  const TileProduct<float>* fits = &product;
  for (int64_t j = 0; j < p.columns; j += fits->cols) {
    while (fits->cols > p.columns - j) fits = fits->half;  // blocks are whole tiles of the smallest
    const TileProduct<float>& fitting = *fits;
    tile.by_col = p.bias + j;
    for (int64_t k = 0; k < p.depth; k += most_depth) {
      const bool ends = k + most_depth >= p.depth;
      tile.onto = k > 0;
      tile.low = ends ? p.low : -std::numeric_limits<float>::infinity();
      tile.high = ends ? p.high : std::numeric_limits<float>::infinity();
      tile.b = p.weights + j / lanes * p.block + k * lanes + j % lanes;
      // Weights come from far away, once: while some are multiplied, the next are fetched.
      const bool more = !ends || j + fitting.cols < p.columns;
      const float* next = ends ? p.weights + (j + fitting.cols) / lanes * p.block : tile.b + most_depth * lanes;
      const int64_t blocks = std::max<int64_t>(1, fitting.cols / lanes);
      for (int64_t i = 0; i < p.rows; i += fitting.rows) {
        tile.pieces = {{{p.a + i * p.a_step + k, p.a_step, std::min(most_depth, p.depth - k)}}};
        tile.c = p.c + i * p.c_step + j;
        const int64_t block = i / fitting.rows;
        tile.soon = more && block < blocks ? reinterpret_cast<const char*>(next + block * p.block) : nullptr;
        fitting.multiply(tile);
      }
    }
  }
}

#if defined(ZOO_AMX)
// A square of sums, `tall` by `wide` tiles, at `c`: in bfloat16 from the bias on, of integers (see quantized.h) from
// zero.
template <int tall, int wide, typename Product>
ZOO_TARGET("avx512f,amx-tile,amx-bf16,amx-int8")
inline void multiply_tiles(const Product& p, int64_t i, int64_t j, typename Product::Sum* c, int64_t c_step) {
  using Value = typename Product::Value;
  using Sum = typename Product::Sum;
  constexpr int64_t step = depth_step<Value>;
  const Value* a = p.a + i * p.a_step;
  const auto* b = p.weights + j / lanes * p.block;
  const int64_t a_bytes = p.a_step * sizeof(Value), c_bytes = c_step * sizeof(Sum);
#define ZOO_BEGIN(sum, column)                     \
  if constexpr (std::is_same_v<Value, BFloat16>) { \
    _tile_loadd(sum, p.bias + j + column, 0);      \
  } else {                                         \
    _tile_zero(sum);                               \
  }
#define ZOO_MULTIPLY(sum, a_tile, b_tile)          \
  if constexpr (std::is_same_v<Value, BFloat16>) { \
    _tile_dpbf16ps(sum, a_tile, b_tile);           \
  } else if constexpr (std::is_signed_v<Value>) {  \
    _tile_dpbssd(sum, a_tile, b_tile);             \
  } else {                                         \
    _tile_dpbusd(sum, a_tile, b_tile);             \
  }
  ZOO_BEGIN(0, 0)
  if constexpr (wide > 1) {
    ZOO_BEGIN(1, lanes)
  }
  if constexpr (tall > 1) {
    ZOO_BEGIN(2, 0)
  }
  if constexpr (tall > 1 && wide > 1) {
    ZOO_BEGIN(3, lanes)
  }
  const bool more = i == 0 && j + wide * lanes < p.columns;
  for (int64_t k = 0; k < p.depth; k += step) {
    if (more)  // weights come from far away, once: while some are multiplied, the next are fetched
      for (int64_t l = 0; l < wide * step * lanes; l += step)
        __builtin_prefetch(b + (wide + l / (step * lanes)) * p.block + k * lanes + l % (step * lanes));
    _tile_loadd(4, a + k, a_bytes);
    _tile_loadd(6, b + k * lanes, line);
    ZOO_MULTIPLY(0, 4, 6)
    if constexpr (wide > 1) {
      _tile_loadd(7, b + p.block + k * lanes, line);
      ZOO_MULTIPLY(1, 4, 7)
    }
    if constexpr (tall > 1) {
      _tile_loadd(5, a + unit_rows * p.a_step + k, a_bytes);
      ZOO_MULTIPLY(2, 5, 6)
      if constexpr (wide > 1) {
        ZOO_MULTIPLY(3, 5, 7)
      }
    }
  }
#undef ZOO_MULTIPLY
#undef ZOO_BEGIN
  _tile_stored(0, c, c_bytes);
  if constexpr (wide > 1) _tile_stored(1, c + lanes, c_bytes);
  if constexpr (tall > 1) _tile_stored(2, c + unit_rows * c_step, c_bytes);
  if constexpr (tall > 1 && wide > 1) _tile_stored(3, c + unit_rows * c_step + lanes, c_bytes);
}

// The sums of each square of 32 are put where at(i, j) says, rows `c_step` apart, and then taken.
template <typename Product, typename At, typename Take>
ZOO_TARGET("avx512f,amx-tile,amx-bf16,amx-int8")
void multiply_by_units(const Product& p, int64_t c_step, const At& at, const Take& take) {
  const UnitShapes shapes;
  asm volatile("" : : "r"(&shapes) : "memory");  // of the intrinsics not all say what they read
  _tile_loadconfig(&shapes);
  for (int64_t j = 0; j < p.columns; j += side_of_square)
    for (int64_t i = 0; i < p.rows; i += side_of_square) {
      const bool tall = i + unit_rows < p.rows, wide = j + lanes < p.columns;
      auto* const c = at(i, j);
      if (tall && wide)
        multiply_tiles<2, 2>(p, i, j, c, c_step);
      else if (tall)
        multiply_tiles<2, 1>(p, i, j, c, c_step);
      else if (wide)
        multiply_tiles<1, 2>(p, i, j, c, c_step);
      else
        multiply_tiles<1, 1>(p, i, j, c, c_step);
      asm volatile("" : : "r"(c) : "memory");
      take(i, j);
    }
  _tile_release();
}
#endif

inline void multiply_packed(const PackedProduct<BFloat16>& p) {
#if defined(ZOO_AMX)
  if (has_matrix_units())
    return multiply_by_units(
        p, p.c_step, [&](int64_t i, int64_t j) { return p.c + i * p.c_step + j; }, [](int64_t, int64_t) {});
#endif
  const Tiles<BFloat16> tiles = zoo::tiles<BFloat16>();
  int32_t numbers[tile_rows];
  for (int r = 0; r < tile_rows; ++r) numbers[r] = r;
  for (int64_t i = 0; i < p.rows; ++i) std::copy_n(p.bias, p.columns, p.c + i * p.c_step);
  for (int64_t j = 0; j < p.columns; j += lanes)
    for (int64_t i = 0; i < p.rows; i += tile_rows)
      tiles.one({p.c + i * p.c_step + j, p.c_step, p.a + i * p.a_step, p.a_step, p.weights + j / lanes * p.block,
                 p.depth / 2},
                numbers, numbers);
}

// A square of sums, rows `side_of_square` apart, and whether there are units that make it.
inline void multiply_square(const PackedProduct<BFloat16>& p, int64_t i, int64_t j, float* sums) {
  PackedProduct<BFloat16> square = p;
  square.a += i * p.a_step;
  square.rows = std::min(side_of_square, p.rows - i);
  square.weights += j / lanes * p.block;
  square.columns = std::min(side_of_square, p.columns - j);
  square.bias += j;
  square.c = sums;
  square.c_step = side_of_square;
  multiply_packed(square);
}

#if defined(ZOO_AMX)
inline bool has_units_for(const PackedProduct<BFloat16>&) { return has_matrix_units(); }
#endif

// Calls take(i, j, sums) with the squares of sums from row `i` and column `j` on, as far as there are any: they are in
// the first cache. Where the product would put them does not matter.
template <typename Product, typename Take>
void multiply_squares(const Product& p, const Take& take) {
  alignas(64) typename Product::Sum sums[(side_of_square + most_rows) * side_of_square];
#if defined(ZOO_AMX)
  if (has_units_for(p))
    return multiply_by_units(
        p, side_of_square, [&](int64_t, int64_t) { return sums; }, [&](int64_t i, int64_t j) { take(i, j, sums); });
#endif
  for (int64_t j = 0; j < p.columns; j += side_of_square)
    for (int64_t i = 0; i < p.rows; i += side_of_square) {
      multiply_square(p, i, j, sums);
      take(i, j, sums);
    }
}

}  // namespace zoo
