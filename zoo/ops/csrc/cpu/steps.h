// Steps that threads take together without leaving the parallel region in between, which would cost more than a step.
#pragma once

#include <atomic>
#include <functional>
#include <thread>

#include "common.h"

namespace zoo {

// run(task) for all tasks in [0, count), each once and on any of the threads.
struct Step {
  int64_t count;
  std::function<void(int64_t)> run;
};

// Every thread takes whatever task is next, and goes on to the next step when all tasks of this one are done. That ends
// however many threads there are: whoever waits does so for a task that another has begun.
inline void run_steps(const std::vector<Step>& steps) {
  struct alignas(64) Progress {
    std::atomic<int64_t> taken{0}, done{0};
  };
  std::vector<Progress> progress(steps.size());
  std::atomic<bool> failed{false};
  const auto take_part = [&](int64_t, int64_t) {
    try {
      for (size_t i = 0; i < steps.size(); ++i) {
        Progress& step = progress[i];
        const int64_t count = steps[i].count;
        for (int64_t task; (task = step.taken.fetch_add(1, std::memory_order_relaxed)) < count;) {
          steps[i].run(task);
          step.done.fetch_add(1, std::memory_order_release);
        }
        for (int patience = 1 << 12; step.done.load(std::memory_order_acquire) < count;) {
          if (failed.load(std::memory_order_relaxed)) return;
          if (patience > 0)
            --patience;
          else
            std::this_thread::yield();
#if defined(__x86_64__)
          _mm_pause();
#endif
        }
      }
    } catch (...) {
      failed = true;
      throw;
    }
  };
  torch::stable::parallel_for(0, torch::stable::get_num_threads(), 1, take_part);
}

}  // namespace zoo
