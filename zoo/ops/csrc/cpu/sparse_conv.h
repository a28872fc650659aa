// Convolutions of 3 x 3 x 3 between sets of voxels: rows of values for the members of one, from those of another.
#pragma once

#include <atomic>
#include <vector>

#include "tiles.h"
#include "voxel_set.h"

namespace zoo {

constexpr const char* sparse_name = "sparse_voxel_branch";

// f(i) for i in [0, count), each by whichever thread is free: the steps are large, and their lengths differ.
template <typename F>
void share_out(int64_t count, const F& f) {
  std::atomic<int64_t> next{0};
  torch::stable::parallel_for(0, count, 1, [&](int64_t, int64_t) {
    for (int64_t i = next++; i < count; i = next++) f(i);
  });
}

// Of one cloud: the voxels that hold points, those that the first convolution is computed for, and the second.
struct Reach {
  VoxelSet occupied, near, read;
};

// Rows of values [M, stride] for the members of a set in each cloud, cloud by cloud; the last row is zero.
template <typename T>
struct Rows {
  int64_t stride, zero;        // where the last row is
  std::vector<int64_t> first;  // row of each cloud
  Tensor values;

  Rows(const Tensor& like, const std::vector<Reach>& reach, VoxelSet Reach::* set, int64_t channels)
      : stride(channels), zero(0) {
    for (const Reach& sets : reach) {
      first.push_back(zero);
      zero += (sets.*set).size();
    }
    if (zero > INT32_MAX) refuse(sparse_name, ": more than 2^31 voxels take part: give fewer clouds at a time");
    values = empty(like, {zero + 1, stride});
    std::fill_n((*this)[zero], stride, T(0));
  }
  T* operator[](int64_t row) const { return mutable_data<T>(values) + row * stride; }
};

// Words [begin, end) of a set of one cloud, with few members, whose sums stay in the caches.
struct Chunk {
  int64_t cloud, begin, end;
};
constexpr int64_t chunk_members = 256;

inline std::vector<Chunk> chunks_of(const std::vector<Reach>& reach, VoxelSet Reach::* set) {
  std::vector<Chunk> chunks;
  for (size_t b = 0; b < reach.size(); ++b) {
    const std::vector<int32_t>& before = (reach[b].*set).before;
    for (int64_t begin = 0, words = before.size() - 1; begin < words;) {
      int64_t end = begin + 1;
      while (end < words && before[end + 1] - before[begin] <= chunk_members) ++end;
      if (before[end] > before[begin]) chunks.push_back({static_cast<int64_t>(b), begin, end});
      begin = end;
    }
  }
  return chunks;
}

struct alignas(64) Lanes {
  float values[lanes];
};

// Which members take part in a product at each place of the kernel, rounded up to whole tiles by rows of no account.
struct Rulebook {
  static constexpr int64_t capacity = chunk_members + unit_rows;
  std::vector<int32_t> from = std::vector<int32_t>(num_taps * capacity), to = from;
  int32_t counts[num_taps];

  int32_t* from_of(int tap) { return from.data() + tap * capacity; }
  int32_t* to_of(int tap) { return to.data() + tap * capacity; }
};

// `first_row` of the cloud among all; the row `nothing` is zero; tiles have `rows`.
inline ZOO_SIMD void write_rules(Rulebook& rules, const VoxelSet& inputs, const VoxelSet& outputs, const Chunk& chunk,
                                 int64_t first_row, int64_t nothing, int64_t rows) {
  std::fill_n(rules.counts, num_taps, 0);
  const int32_t first = outputs.before[chunk.begin];
  for_pairs(inputs, outputs, chunk.begin, chunk.end, [&](int tap, int32_t from, int32_t to) {
    const int32_t at = rules.counts[tap]++;
    rules.from_of(tap)[at] = from + static_cast<int32_t>(first_row);
    rules.to_of(tap)[at] = to - first;
  });
  for (int tap = 0; tap < num_taps; ++tap)
    for (; rules.counts[tap] % rows != 0; ++rules.counts[tap]) {
      rules.from_of(tap)[rules.counts[tap]] = static_cast<int32_t>(nothing);
      rules.to_of(tap)[rules.counts[tap]] = chunk_members;  // a row behind those that count
    }
}

// One convolution at the voxels of one set, from the rows of another. Weights are [27, blocks, steps, lanes(, 2)].
template <typename T>
class Convolution {
 public:
  Convolution(const Tensor& weights, const std::vector<Reach>& reach, VoxelSet Reach::* inputs,
              VoxelSet Reach::* outputs)
      : weights_(weights), reach_(reach), inputs_(inputs), outputs_(outputs), tiles_(tiles<T>()) {}

  int64_t stride() const { return blocks() * lanes; }

  // start(voxel) gives the sums [stride] that a member begins with; done(chunk number, first member, sums, count) takes
  // them. Chunks are those of chunks_of the outputs.
  template <typename Start, typename Done>
  void operator()(const Rows<T>& rows, const std::vector<Chunk>& chunks, const Start& start, const Done& done) const {
    share_out(static_cast<int64_t>(chunks.size()), [&](int64_t i) {
      static thread_local Rulebook rules;
      std::vector<Lanes> storage((chunk_members + 1) * blocks());
      float* sums = storage[0].values;
      const Chunk& chunk = chunks[i];
      const VoxelSet &from = reach_[chunk.cloud].*inputs_, &to = reach_[chunk.cloud].*outputs_;
      write_rules(rules, from, to, chunk, rows.first[chunk.cloud], rows.zero, tiles_.rows);
      int64_t member = 0;
      for (int64_t word = chunk.begin; word < chunk.end; ++word)
        for (uint64_t bits = to.bits[word]; bits != 0; bits &= bits - 1) {
          const int64_t z = word % to.words * word_bits + __builtin_ctzll(bits);
          std::copy_n(start(word / to.words, z), stride(), sums + member++ * stride());
        }
      for (int tap = 0; tap < num_taps; ++tap)
        multiply(sums, rows, rules.from_of(tap), rules.to_of(tap), rules.counts[tap], tap);
      done(i, to.before[chunk.begin], sums, member);
    });
  }

 private:
  int64_t blocks() const { return weights_.size(1); }

  void multiply(float* sums, const Rows<T>& rows, const int32_t* from, const int32_t* to, int64_t count,
                int tap) const {
    const int64_t steps = weights_.size(2), block = steps * lanes * together<T>;
    const T* all = data<T>(weights_) + tap * blocks() * block;
    if (tiles_.all != nullptr)
      return tiles_.all({sums, stride(), rows[0], rows.stride, all, steps}, blocks(), from, to, count);
    for (int64_t b = 0; b < blocks();) {
      const int64_t left = blocks() - b;
      const bool four = tiles_.four != nullptr && left >= 4, two = tiles_.two != nullptr && left >= 2;
      const Tile<T> tile = four ? tiles_.four : two ? tiles_.two : tiles_.one;
      const TileArguments<T> arguments{sums + b * lanes, stride(), rows[0], rows.stride, all + b * block, steps};
      for (int64_t i = 0; i < count; i += tiles_.rows) tile(arguments, from + i, to + i);
      b += four ? 4 : two ? 2 : 1;
    }
  }

  const Tensor& weights_;
  const std::vector<Reach>& reach_;
  VoxelSet Reach::*inputs_, Reach::*outputs_;
  Tiles<T> tiles_;
};

}  // namespace zoo
