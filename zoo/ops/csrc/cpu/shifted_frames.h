// Frames of which some channels are found in other frames, and how pieces of them come to where tiles are multiplied.
#pragma once

#include "common.h"

namespace zoo {

// The channels [begin, end), which lie `offset` frames away in a tensor of `channels` channels.
template <typename T>
struct Share {
  int64_t begin, end, offset;
  T* data;
  int64_t channels;
};

// Frames [F, C, H, W], clips of `length` frames. Pixels are numbered over all frames.
template <typename T>
struct ShiftedFrames {
  int64_t count, length, channels, pixels;
  bool channels_last;
  std::vector<Share<T>> shares;

  int64_t all_pixels() const { return count * pixels; }

  // The temporal shift of clips: two shares of the channels are `first` and `second` frames away.
  void shift(int64_t num_frames, int64_t shift_div, int64_t first, int64_t second) {
    T* data = shares[0].data;
    const int64_t fold = channels / shift_div, moved = second == 0 ? fold : 2 * fold;
    length = num_frames;
    shares = {
        {0, fold, first, data, channels}, {fold, moved, second, data, channels}, {moved, channels, 0, data, channels}};
  }

  // The shift of streams: the first `fold` channels are what was kept of the frames before.
  void follow(T* past, int64_t fold) {
    shares = {{0, fold, 0, past, fold}, {fold, channels, 0, shares[0].data, channels}};
  }

  // Where the share of frame `f` begins; none where the clip has ended.
  T* frame(const Share<T>& share, int64_t f) const {
    const int64_t t = f % length + share.offset;
    return t < 0 || t >= length ? nullptr : share.data + (f + share.offset) * share.channels * pixels;
  }

  // Of pixel `p` in the share that begins at `frame`: channel `c`.
  T* at(const Share<T>& share, T* frame, int64_t c, int64_t p) const {
    return frame == nullptr ? nullptr : frame + (channels_last ? p * share.channels + c : c * pixels + p);
  }

  // Where most channels of a pixel are, of channels-last frames.
  const char* pixel(int64_t m) const {
    const Share<T>& most = shares.back();
    return reinterpret_cast<const char*>(most.data + m * most.channels);
  }

  // Whether the share of the pixels [begin, end) of channels-last frames lies in one piece, or there is none of it, and
  // if so where channel `c` of the first one is.
  bool in_one_piece(const Share<T>& share, int64_t begin, int64_t end, int64_t c, T** at) const {
    *at = share.data + (begin + share.offset * pixels) * share.channels + c;
    if (share.offset == 0) return true;  // most are, and need no division
    const int64_t first = begin / pixels;
    const int64_t last = end <= (first + 1) * pixels ? first : (end - 1) / pixels;
    int64_t there = 0;
    for (int64_t f = first; f <= last; ++f) there += frame(share, f) != nullptr;
    if (there == 0) *at = nullptr;
    return there == 0 || there == last - first + 1;
  }

  // f(frame, first pixel in it, how many, how many came before) for the frames that the pixels [begin, end) lie in.
  template <typename F>
  void for_frames(int64_t begin, int64_t end, const F& f) const {
    for (int64_t m = begin; m < end;) {
      const int64_t p = m % pixels, many = std::min(pixels - p, end - m);
      f(m / pixels, p, many, m - begin);
      m += many;
    }
  }

  // f(share, first, last) for the shares of the channels [begin, end).
  template <typename F>
  void for_shares(int64_t begin, int64_t end, const F& f) const {
    for (const Share<T>& share : shares) {
      const int64_t first = std::max(begin, share.begin), last = std::min(end, share.end);
      if (first < last) f(share, first, last);
    }
  }
};

template <typename T>
ShiftedFrames<T> frames_as_they_are(const Tensor& x, bool channels_last) {
  const int64_t channels = x.size(1);
  return {
      x.size(0), 1, channels, x.size(2) * x.size(3), channels_last, {{0, channels, 0, mutable_data<T>(x), channels}}};
}

template <typename T>
ShiftedFrames<T> shifted_frames(const Tensor& x, bool channels_last, int64_t num_frames, int64_t shift_div,
                                int64_t first, int64_t second) {
  ShiftedFrames<T> frames = frames_as_they_are<T>(x, channels_last);
  frames.shift(num_frames, shift_div, first, second);
  return frames;
}

// Copies `rows` rows of `count` values from `from`, `from_step` apart, to `to`, `to_step` apart, in another type; zeros
// where there is nothing to copy. To call the library for every row would take longer.
template <typename To, typename From>
ZOO_SIMD void copy_rows(To* to, int64_t to_step, const From* from, int64_t from_step, int64_t rows, int64_t count) {
  if (from == nullptr) {
    for (int64_t i = 0; i < rows; ++i) std::fill_n(to + i * to_step, count, To(0));
    return;
  }
  for (int64_t i = 0; i < rows; ++i, to += to_step, from += from_step) {
    if constexpr (!std::is_same_v<To, From>) {
      for (int64_t j = 0; j < count; ++j) to[j] = static_cast<To>(from[j]);
    } else {
      char* target = reinterpret_cast<char*>(to);
      const char* source = reinterpret_cast<const char*>(from);
      const int64_t bytes = count * static_cast<int64_t>(sizeof(To));
      int64_t done = 0;
      for (; done + 64 <= bytes; done += 64) {
        typename Simd<char>::Vec piece;
        std::memcpy(&piece, source + done, 64);
        std::memcpy(target + done, &piece, 64);
      }
      if (bytes & 32) std::memcpy(target + done, source + done, 32), done += 32;
      if (bytes & 16) std::memcpy(target + done, source + done, 16), done += 16;
      if (bytes & 8) std::memcpy(target + done, source + done, 8), done += 8;
      if (bytes & 4) std::memcpy(target + done, source + done, 4), done += 4;
      if (bytes & 2) std::memcpy(target + done, source + done, 2), done += 2;
      if (bytes & 1) target[done] = source[done];
    }
  }
}

// The channels [c, c + many) of pixels [begin, end) of channels-last frames, one pixel after another, `stride` apart;
// zeros for channels that there are not.
template <typename W, typename T>
void gather_pixels(W* to, int64_t stride, const ShiftedFrames<const T>& x, int64_t begin, int64_t end, int64_t c,
                   int64_t many) {
  x.for_frames(begin, end, [&](int64_t f, int64_t p, int64_t count, int64_t done) {
    W* rows = to + done * stride;
    x.for_shares(c, c + many, [&](const auto& share, int64_t first, int64_t last) {
      copy_rows(rows + first - c, stride, x.at(share, x.frame(share, f), first, p), share.channels, count,
                last - first);
    });
    if (c + many > x.channels) copy_rows<W, T>(rows + x.channels - c, stride, nullptr, 0, count, c + many - x.channels);
  });
}

// The pixels [begin, end) of the channels [c, c + many) of contiguous frames, one channel after another, `stride`
// apart; zeros for channels that there are not.
template <typename W, typename T>
void gather_planes(W* to, int64_t stride, const ShiftedFrames<const T>& x, int64_t begin, int64_t end, int64_t c,
                   int64_t many) {
  x.for_frames(begin, end, [&](int64_t f, int64_t p, int64_t count, int64_t done) {
    W* rows = to + done;
    x.for_shares(c, c + many, [&](const auto& share, int64_t first, int64_t last) {
      copy_rows(rows + (first - c) * stride, stride, x.at(share, x.frame(share, f), first, p), x.pixels, last - first,
                count);
    });
    if (c + many > x.channels)
      copy_rows<W, T>(rows + (x.channels - c) * stride, stride, nullptr, 0, c + many - x.channels, count);
  });
}

}  // namespace zoo
