// Temporal shift (TSM, section 3.2): bytes move, so one kernel serves all types.
#include "common.h"

namespace zoo {
namespace {

// Frames [F, C, H, W] as bytes: a frame is one row of channels, or, with the channels last, a row for every pixel.
struct Frames {
  char* bytes;
  int64_t rows, channels, channel;  // channel: the bytes of one in a row

  int64_t row_bytes() const { return channels * channel; }
  char* row(int64_t frame, int64_t row) const { return bytes + (frame * rows + row) * row_bytes(); }
};

Frames frames_of(const Tensor& x, bool channels_last) {
  const int64_t pixels = x.size(2) * x.size(3), element = x.element_size();
  return {static_cast<char*>(x.data_ptr()), channels_last ? pixels : 1, x.size(1),
          channels_last ? element : pixels * element};
}

Frames frames_of(const Tensor& x) { return frames_of(x, !x.is_contiguous()); }

// f(frame, begin, end) for blocks of the rows of all frames, in parallel.
template <typename F>
void for_each_block(int64_t num_frames, const Frames& frames, const F& f) {
  const int64_t size = std::max<int64_t>(1, 32768 / std::max<int64_t>(frames.row_bytes(), 1));
  const int64_t blocks = (frames.rows + size - 1) / size;
  parallel(num_frames * blocks, size * frames.row_bytes(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i % blocks * size;
      f(i / blocks, first, std::min(first + size, frames.rows));
    }
    finish_writes();
  });
}

// The frame from which frame `f` takes, `offset` steps away in its clip of `num_frames`; -1 where the clip ends.
int64_t source(int64_t f, int64_t num_frames, int64_t offset) {
  const int64_t t = f % num_frames + offset;
  return t < 0 || t >= num_frames ? -1 : f + offset;
}

void shift_into(const Tensor& out, const Tensor& x, int64_t num_frames, int64_t shift_div, int64_t first,
                int64_t second) {
  const Frames from = frames_of(x), to = frames_of(out, !x.is_contiguous());
  const int64_t fold = from.channels / shift_div * from.channel, row_bytes = from.row_bytes();
  const bool past_caches = out.numel() * out.element_size() > more_than_caches;
  constexpr int64_t ahead = 4;  // rows: the processor does not foresee short pieces of other frames
  for_each_block(x.size(0), from, [&](int64_t f, int64_t begin, int64_t end) {
    const int64_t next = source(f, num_frames, first), before = source(f, num_frames, second);
    for (int64_t row = begin; row < end; ++row) {
      char* target = to.row(f, row);
      if (row + ahead < from.rows) {
        if (next >= 0) prefetch(from.row(next, row + ahead), fold);
        if (before >= 0) prefetch(from.row(before, row + ahead) + fold, fold);
      }
      write(target, next < 0 ? nullptr : from.row(next, row), fold, past_caches);
      int64_t done = fold;
      if (second != 0) {
        write(target + done, before < 0 ? nullptr : from.row(before, row) + done, fold, past_caches);
        done += fold;
      }
      write(target + done, from.row(f, row) + done, row_bytes - done, past_caches);
    }
  });
}

Tensor temporal_shift(Tensor x, int64_t num_frames, int64_t shift_div, int64_t first, int64_t second) {
  check_frames(x, num_frames, shift_div, second);
  x = dense(x);
  Tensor out = make_like(x);
  if (x.numel() > 0) shift_into(out, x, num_frames, shift_div, first, second);
  return out;
}

void temporal_shift_out(Tensor x, int64_t num_frames, int64_t shift_div, int64_t first, int64_t second, Tensor out) {
  check_frames(x, num_frames, shift_div, second);
  check_same_layout("temporal_shift_out", x, out);
  shift_into(out, x, num_frames, shift_div, first, second);
}

void temporal_shift_in_place(Tensor x, int64_t num_frames, int64_t shift_div, int64_t first, int64_t second) {
  check_frames(x, num_frames, shift_div, second);
  if (x.numel() == 0) return;
  Tensor work = dense(x);
  const Frames frames = frames_of(work);
  const int64_t fold = frames.channels / shift_div * frames.channel;
  constexpr int64_t piece = 8192;  // bytes; all frames of a clip pass through the caches piece by piece
  const bool long_rows = fold > piece;
  const int64_t size = long_rows ? 1 : std::max<int64_t>(1, piece / std::max<int64_t>(fold, 1));  // rows of a piece
  const int64_t width = long_rows ? piece : fold;
  const int64_t across = long_rows ? (fold + width - 1) / width : 1, down = (frames.rows + size - 1) / size;
  parallel(x.size(0) / num_frames * across * down, 2 * num_frames * piece, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t clip = i / (across * down), row = i / across % down * size, left = i % across * width;
      const int64_t last_row = std::min(row + size, frames.rows), bytes = std::min(width, fold - left);
      for (int64_t group = 0; group < 2; ++group) {
        const int64_t offset = group == 0 ? first : second;
        for (int64_t step = 0; step < num_frames && offset != 0; ++step) {
          const int64_t t = offset > 0 ? step : num_frames - 1 - step;  // what is still wanted is not yet overwritten
          const int64_t f = clip * num_frames + t, other = source(f, num_frames, offset);
          const int64_t at = group * fold + left;
          for (int64_t r = row; r < last_row; ++r)
            write(frames.row(f, r) + at, other < 0 ? nullptr : frames.row(other, r) + at, bytes, false);
        }
      }
    }
  });
  if (work.data_ptr() != x.data_ptr()) torch::stable::copy_(x, work);
}

std::tuple<Tensor, Tensor> online_shift(Tensor x, Tensor past) {
  check_past(x, past);
  x = dense(x);
  past = laid_out_as(x, past);
  Tensor out = make_like(x), kept = make_like(past);
  if (x.numel() == 0) return {out, kept};
  const bool channels_last = !x.is_contiguous();
  const Frames from = frames_of(x), to = frames_of(out, channels_last);
  const Frames before = frames_of(past, channels_last), now = frames_of(kept, channels_last);
  const int64_t moved = before.row_bytes();
  for_each_block(x.size(0), from, [&](int64_t f, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      write(to.row(f, row), before.row(f, row), moved, false);
      write(to.row(f, row) + moved, from.row(f, row) + moved, from.row_bytes() - moved, false);
      write(now.row(f, row), from.row(f, row), moved, false);
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
