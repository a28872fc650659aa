// Temporal shift (TSM, section 3.2): bytes move, so one kernel serves all types.
#include <cstring>

#include "common.h"

namespace zoo {
namespace {

// Frames [F, C, H, W] as bytes, channels first or last in memory.
struct Frames {
  char* bytes;
  int64_t channels, pixels, element;
  bool channels_last;

  int64_t frame_bytes() const { return channels * pixels * element; }
};

Frames frames_of(const Tensor& x) {
  const bool channels_last = !x.is_contiguous();
  return {static_cast<char*>(x.data_ptr()), x.size(1), x.size(2) * x.size(3), static_cast<int64_t>(x.element_size()),
          channels_last};
}

// Channels [to_channel, to_channel + count) of a frame of `to` become those of a frame of `from` at from_channel; zeros
// where from_frame is negative. Frames that are one and the same may overlap in nothing but the very same channels.
void copy_channels(const Frames& to, int64_t to_frame, int64_t to_channel, const Frames& from, int64_t from_frame,
                   int64_t from_channel, int64_t count) {
  const int64_t element = to.element;
  char* out = to.bytes + to_frame * to.frame_bytes();
  const char* in = from.bytes + from_frame * from.frame_bytes();
  const bool zero = from_frame < 0;
  const int64_t rows = to.channels_last ? to.pixels : 1;
  const int64_t scale = to.channels_last ? element : to.pixels * element;  // bytes from one channel to the next
  const int64_t to_row = to.channels * scale, from_row = from.channels * scale, bytes = count * scale;
  out += to_channel * scale;
  in += from_channel * scale;
  if (bytes == 0) return;
  for (int64_t row = 0; row < rows; ++row) {
    if (zero)
      std::memset(out + row * to_row, 0, bytes);
    else
      std::memcpy(out + row * to_row, in + row * from_row, bytes);
  }
}

// The frame from which frame `f` takes, `offset` steps away in its clip of `num_frames`; -1 where the clip ends.
int64_t source(int64_t f, int64_t num_frames, int64_t offset) {
  const int64_t t = f % num_frames + offset;
  return t < 0 || t >= num_frames ? -1 : f + offset;
}

void shift_into(const Tensor& out, const Tensor& x, int64_t num_frames, int64_t shift_div, int64_t first,
                int64_t second) {
  const Frames from = frames_of(x), to = frames_of(out);
  const int64_t fold = from.channels / shift_div, moved = second == 0 ? fold : 2 * fold;
  parallel(x.size(0), from.channels * from.pixels, [&](int64_t begin, int64_t end) {
    for (int64_t f = begin; f < end; ++f) {
      copy_channels(to, f, 0, from, source(f, num_frames, first), 0, fold);
      if (second != 0) copy_channels(to, f, fold, from, source(f, num_frames, second), fold, fold);
      copy_channels(to, f, moved, from, f, moved, from.channels - moved);
    }
  });
}

Tensor temporal_shift(Tensor x, int64_t num_frames, int64_t shift_div, int64_t first, int64_t second) {
  x = dense(x);
  Tensor out = torch::stable::empty_like(x);
  if (x.numel() > 0) shift_into(out, x, num_frames, shift_div, first, second);
  return out;
}

void temporal_shift_out(Tensor x, int64_t num_frames, int64_t shift_div, int64_t first, int64_t second, Tensor out) {
  check_same_layout("temporal_shift_out", x, out);
  shift_into(out, x, num_frames, shift_div, first, second);
}

void temporal_shift_in_place(Tensor x, int64_t num_frames, int64_t shift_div, int64_t first, int64_t second) {
  if (x.numel() == 0) return;
  Tensor work = dense(x);
  const Frames frames = frames_of(work);
  const int64_t fold = frames.channels / shift_div;
  parallel(x.size(0) / num_frames, num_frames * 2 * fold * frames.pixels, [&](int64_t begin, int64_t end) {
    for (int64_t clip = begin; clip < end; ++clip) {
      for (int64_t group = 0; group < 2; ++group) {
        const int64_t offset = group == 0 ? first : second;
        for (int64_t step = 0; step < num_frames && offset != 0; ++step) {
          const int64_t t = offset > 0 ? step : num_frames - 1 - step;  // what is still wanted is not yet overwritten
          const int64_t f = clip * num_frames + t;
          copy_channels(frames, f, group * fold, frames, source(f, num_frames, offset), group * fold, fold);
        }
      }
    }
  });
  if (work.data_ptr() != x.data_ptr()) torch::stable::copy_(x, work);
}

std::tuple<Tensor, Tensor> online_shift(Tensor x, Tensor past) {
  x = dense(x);
  past = laid_out_as(x, past);
  Tensor out = torch::stable::empty_like(x), kept = torch::stable::empty_like(past);
  if (x.numel() == 0) return {out, kept};
  const Frames from = frames_of(x), to = frames_of(out);
  Frames before = frames_of(past), now = frames_of(kept);
  before.channels_last = now.channels_last = from.channels_last;
  const int64_t moved = before.channels;
  parallel(x.size(0), from.channels * from.pixels, [&](int64_t begin, int64_t end) {
    for (int64_t f = begin; f < end; ++f) {
      copy_channels(to, f, 0, before, f, 0, moved);
      copy_channels(to, f, moved, from, f, moved, from.channels - moved);
      copy_channels(now, f, 0, from, f, 0, moved);
    }
  });
  return {out, kept};
}

}  // namespace
}  // namespace zoo

STABLE_TORCH_LIBRARY_IMPL(zoo, CPU, m) {
  m.impl("temporal_shift", TORCH_BOX(&zoo::temporal_shift));
  m.impl("temporal_shift_", TORCH_BOX(&zoo::temporal_shift_in_place));
  m.impl("temporal_shift_out", TORCH_BOX(&zoo::temporal_shift_out));
  m.impl("online_shift", TORCH_BOX(&zoo::online_shift));
}
