// A GPU on one core of a CPU: a kernel's blocks run one after another, and the threads of a block as fibers, which
// change places where they wait for each other; a warp runs as far ahead of the others as it can. EMULATED_CUDA_ORDER
// says in which order blocks, warps and threads come: forward, `reversed` or `shuffled`. Results that depend on it are
// races.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  uint64_t count() const { return uint64_t{x} * y * z; }
  dim3 at(uint64_t i) const { return {unsigned(i % x), unsigned(i / x % y), unsigned(i / x / y)}; }
};
inline dim3 gridDim, blockDim, blockIdx, threadIdx;  // of the thread whose turn it is

namespace emulated {

constexpr unsigned warp = 32;

[[noreturn]] inline void die(const char* why) {
  std::fprintf(stderr, "emulated CUDA: %s\n", why);
  std::abort();
}

inline std::vector<unsigned> in_order(uint64_t count) {
  static const char* const wanted = std::getenv("EMULATED_CUDA_ORDER");
  static const std::string order = wanted ? wanted : "forward";
  static std::mt19937 random(0);
  std::vector<unsigned> numbers(count);
  std::iota(numbers.begin(), numbers.end(), 0u);
  if (order == "reversed") std::reverse(numbers.begin(), numbers.end());
  if (order == "shuffled") std::shuffle(numbers.begin(), numbers.end(), random);
  return numbers;
}

// Opens when all members have come.
struct Barrier {
  unsigned members = 0, arrived = 0;
  uint64_t opened = 0;

  void open() { arrived = 0, ++opened; }
};

struct Warp {
  Barrier barrier;
  std::array<std::array<uint64_t, warp>, 2> values{};  // of this operation, and of the one that some still read
};

struct Fiber {
  static constexpr size_t size = 1 << 16;

  std::unique_ptr<char[]> stack{new char[size]};
  ucontext_t begin{};
  jmp_buf place;  // swapcontext would ask the system each time
  bool begun = false;
  unsigned thread = 0;
  const Barrier* barrier = nullptr;  // at which it waits, to open once more than it had
  uint64_t opened = 0;
};

// The block that runs. A fiber runs one thread after another until one waits; then another fiber takes the rest.
struct Block {
  std::list<Fiber> fibers;
  std::vector<Fiber*> waiting;  // of each thread
  Fiber* running = nullptr;
  jmp_buf scheduler;
  std::vector<unsigned> order;
  size_t next = 0;
  Barrier barrier;
  std::vector<Warp> warps;
  std::function<void()> kernel;

  static Block& get() {
    static Block block;
    return block;
  }

  Warp& warp_of_thread() { return warps[running->thread / warp]; }

  void wait(Barrier& at) {
    if (++at.arrived == at.members) return at.open();
    Fiber& self = *running;
    self.barrier = &at;
    self.opened = at.opened;
    waiting[self.thread] = &self;
    pause(self);
    threadIdx = blockDim.at(running->thread);
  }

  // Not inlined: a jump may forget the variables of the function that it returns to.
  __attribute__((noinline)) void pause(Fiber& fiber) {
    if (_setjmp(fiber.place) == 0) _longjmp(scheduler, 1);
  }

  __attribute__((noinline)) void resume(Fiber& fiber) {
    running = &fiber;
    if (_setjmp(scheduler) != 0) return;
    if (fiber.begun) _longjmp(fiber.place, 1);
    fiber.begun = true;
    getcontext(&fiber.begin);
    fiber.begin.uc_stack.ss_sp = fiber.stack.get();
    fiber.begin.uc_stack.ss_size = Fiber::size;
    makecontext(&fiber.begin, &work, 0);
    setcontext(&fiber.begin);
  }

  static void work() {
    for (Block& self = get();;) {
      Fiber& fiber = *self.running;
      while (self.next < self.order.size()) {
        fiber.thread = self.order[self.next++];
        threadIdx = blockDim.at(fiber.thread);
        self.kernel();
        if (self.warp_of_thread().barrier.arrived > 0) die("a thread ends while others of its warp wait for it");
        --self.warp_of_thread().barrier.members;
        if (--self.barrier.members == self.barrier.arrived) self.barrier.open();
      }
      self.pause(fiber);
    }
  }

  // Takes a warp as far as it comes.
  bool advance(unsigned index, const std::vector<unsigned>& lanes) {
    bool moved = false, again = true;
    while (std::exchange(again, false))
      for (const unsigned lane : lanes) {
        const unsigned thread = index * warp + lane;
        Fiber* const fiber = thread < waiting.size() ? waiting[thread] : nullptr;
        if (!fiber || fiber->barrier->opened == fiber->opened) continue;
        waiting[thread] = nullptr;
        resume(*fiber);
        moved = again = true;
      }
    return moved;
  }

  void run() {
    const auto count = static_cast<unsigned>(blockDim.count());
    order = in_order(count);
    next = 0;
    barrier = {count};
    warps.assign((count + warp - 1) / warp, {});
    waiting.assign(count, nullptr);
    for (unsigned thread = 0; thread < count; ++thread) ++warps[thread / warp].barrier.members;
    for (auto fiber = fibers.begin(); next < count; ++fiber)
      resume(fiber == fibers.end() ? *(fiber = fibers.emplace(fiber)) : *fiber);
    const std::vector<unsigned> turns = in_order(warps.size()), lanes = in_order(warp);
    while (barrier.members > 0) {
      bool moved = false;
      for (const unsigned index : turns) moved |= advance(index, lanes);
      if (!moved) die("threads wait for others that never come");
    }
  }
};

inline void run(dim3 grid, dim3 block, const std::function<void()>& kernel) {
  static std::mutex turn;
  const std::lock_guard<std::mutex> guard(turn);
  gridDim = grid;
  blockDim = block;
  Block::get().kernel = kernel;
  for (const unsigned index : in_order(grid.count())) {
    blockIdx = grid.at(index);
    Block::get().run();
  }
}

// What the lanes of a warp bring to an operation.
template <typename T>
struct Lanes {
  static_assert(sizeof(T) <= sizeof(uint64_t));

  const unsigned lane = Block::get().running->thread % warp;
  uint64_t* values;

  Lanes(unsigned mask, T value) {
    Warp& mine = Block::get().warp_of_thread();
    if (mask != 0xffffffffu || mine.barrier.members != warp) die("a warp operation needs all 32 lanes");
    values = mine.values[mine.barrier.opened % 2].data();
    std::memcpy(&values[lane], &value, sizeof(T));
    Block::get().wait(mine.barrier);
  }
  T operator[](unsigned other) const {
    T value;
    std::memcpy(&value, &values[other], sizeof(T));
    return value;
  }
  template <typename F>
  T reduce(const F& f) const {
    T result = (*this)[0];
    for (unsigned other = 1; other < warp; ++other) result = f(result, (*this)[other]);
    return result;
  }
};

}  // namespace emulated
