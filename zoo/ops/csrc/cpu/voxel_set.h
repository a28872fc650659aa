// Sets of voxels of a grid, a bit for each, whose members are numbered in the order of the grid.
#pragma once

#include <vector>

#include "common.h"

namespace zoo {

constexpr int64_t word_bits = 64;

// Bits below bit `k` of a word, and those up to it.
inline uint64_t below(int k) { return (uint64_t{1} << k) - 1; }
inline uint64_t up_to(int k) { return (uint64_t{2} << k) - 1; }

struct VoxelSet {
  int64_t resolution, words;    // along one side; in a row of voxels along z
  std::vector<uint64_t> bits;   // [R, R, words]
  std::vector<int32_t> before;  // members before each word, and at last all of them

  explicit VoxelSet(int64_t side = 0)
      : resolution(side), words((side + word_bits - 1) / word_bits), bits(side * side * words) {}

  void add(int64_t voxel) {
    const int64_t row = voxel / resolution, z = voxel % resolution;
    bits[row * words + z / word_bits] |= uint64_t{1} << z % word_bits;
  }

  bool has(int64_t row, int64_t z) const { return bits[row * words + z / word_bits] >> z % word_bits & 1; }

  int64_t size() const { return before.empty() ? 0 : before.back(); }

  // The number of a member; of another voxel, how many members there are before it.
  int32_t number(int64_t voxel) const {
    const int64_t row = voxel / resolution, z = voxel % resolution, word = row * words + z / word_bits;
    return before[word] + __builtin_popcountll(bits[word] & below(static_cast<int>(z % word_bits)));
  }

  // The voxels of word `word` that have a member `step` (-1, 0 or 1) further along z.
  uint64_t with_neighbor(int64_t word, int step) const {
    const uint64_t here = bits[word];
    if (step == 0) return here;
    const int64_t place = word % words;
    if (step > 0) return here >> 1 | (place + 1 < words ? bits[word + 1] << (word_bits - 1) : 0);
    return here << 1 | (place > 0 ? bits[word - 1] >> (word_bits - 1) : 0);
  }
};

// Numbers the members.
inline ZOO_SIMD void count_members(VoxelSet& set) {
  set.before.resize(set.bits.size() + 1);
  int32_t count = 0;
  for (size_t word = 0; word < set.bits.size(); ++word) {
    set.before[word] = count;
    count += __builtin_popcountll(set.bits[word]);
  }
  set.before.back() = count;
}

// Adds to `to` all voxels within one step of members of `from`, diagonals too: along each axis in turn.
inline ZOO_SIMD void dilate(VoxelSet& to, const VoxelSet& from) {
  const int64_t side = from.resolution, words = from.words, plane = side * words;
  VoxelSet along_z(side), along_y(side);
  const uint64_t last = up_to(static_cast<int>((side - 1) % word_bits));  // no voxels lie beyond the grid
  for (int64_t word = 0; word < side * plane; ++word) {
    const uint64_t near = from.with_neighbor(word, -1) | from.bits[word] | from.with_neighbor(word, 1);
    along_z.bits[word] = word % words == words - 1 ? near & last : near;
  }
  for (int64_t word = 0; word < side * plane; ++word) {
    const int64_t y = word / words % side;
    uint64_t near = along_z.bits[word];
    if (y > 0) near |= along_z.bits[word - words];
    if (y + 1 < side) near |= along_z.bits[word + words];
    along_y.bits[word] = near;
  }
  for (int64_t word = 0; word < side * plane; ++word) {
    uint64_t near = along_y.bits[word];
    if (word >= plane) near |= along_y.bits[word - plane];
    if (word + plane < side * plane) near |= along_y.bits[word + plane];
    to.bits[word] |= near;
  }
}

// A place in a kernel of 3 x 3 x 3.
struct Tap {
  int dx, dy, dz;
};
constexpr int num_taps = 27;
inline Tap tap_at(int index) { return {index / 9 - 1, index / 3 % 3 - 1, index % 3 - 1}; }

// f(tap, word, hits) for words [begin, end) of `outputs` and all taps: `word` is where the neighbours lie in `inputs`,
// `hits` the members that have one.
template <typename F>
inline __attribute__((always_inline)) void for_neighbors(const VoxelSet& inputs, const VoxelSet& outputs, int64_t begin,
                                                         int64_t end, const F& f) {
  const int64_t side = outputs.resolution, words = outputs.words;
  for (int64_t word = begin; word < end; ++word) {
    const uint64_t members = outputs.bits[word];
    if (members == 0) continue;
    const int64_t x = word / words / side, y = word / words % side;
    for (int tap = 0; tap < num_taps; ++tap) {
      const Tap step = tap_at(tap);
      if (x + step.dx < 0 || x + step.dx >= side || y + step.dy < 0 || y + step.dy >= side) continue;
      const int64_t other = word + (step.dx * side + step.dy) * words;
      const uint64_t hits = members & inputs.with_neighbor(other, step.dz);
      if (hits != 0) f(tap, word, other, hits);
    }
  }
}

// Pairs of a voxel of `outputs` and a neighbour of it in `inputs`.
inline ZOO_SIMD int64_t count_pairs(const VoxelSet& inputs, const VoxelSet& outputs) {
  int64_t count = 0;
  for_neighbors(inputs, outputs, 0, static_cast<int64_t>(outputs.bits.size()),
                [&](int, int64_t, int64_t, uint64_t hits) { count += __builtin_popcountll(hits); });
  return count;
}

// The same pairs of words [begin, end) as numbers of members, tap by tap: f(tap, number in inputs, number in outputs).
template <typename F>
inline __attribute__((always_inline)) void for_pairs(const VoxelSet& inputs, const VoxelSet& outputs, int64_t begin,
                                                     int64_t end, const F& f) {
  for_neighbors(inputs, outputs, begin, end, [&](int tap, int64_t word, int64_t other, uint64_t hits) {
    const int step = tap_at(tap).dz;
    for (; hits != 0; hits &= hits - 1) {
      const int k = __builtin_ctzll(hits);
      // Members before the neighbour: it may be the first of the next word or the last of the one before.
      const uint64_t earlier = inputs.bits[other] & (step > 0 ? up_to(k) : below(k));
      const int32_t from = inputs.before[other] + __builtin_popcountll(earlier) - (step < 0);
      f(tap, from, outputs.before[word] + __builtin_popcountll(outputs.bits[word] & below(k)));
    }
  });
}

}  // namespace zoo
