#pragma once
// A rank's copy of what it owns, taken between two steps, and the memory it is copied into.
//
// Fresh memory costs more than the copy: the kernel finds and clears every page of it first. So a
// job that saves again and again has a SnapshotPool, whose memory is touched before it is needed
// and used again by every save.

#include <array>
#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "checkpoint/state.h"

namespace contrail::ckpt {

// Whole pages, which direct I/O asks for, huge ones where the system has them. resize() leaves the
// new elements as they are: a snapshot is written over before anybody reads it.
void* AllocatePages(size_t bytes);  // throws std::bad_alloc
void FreePages(void* pages, size_t bytes);

template <typename T>
struct PageAllocator {
  using value_type = T;
  PageAllocator() = default;
  template <typename U>
  PageAllocator(const PageAllocator<U>&) {}  // NOLINT(google-explicit-constructor)
  T* allocate(size_t n) { return static_cast<T*>(AllocatePages(n * sizeof(T))); }
  void deallocate(T* p, size_t n) { FreePages(p, n * sizeof(T)); }
  template <typename U>
  void construct(U* p) {
    ::new (static_cast<void*>(p)) U;
  }
  template <typename U, typename... Args>
  void construct(U* p, Args&&... args) {
    ::new (static_cast<void*>(p)) U(std::forward<Args>(args)...);
  }
  friend bool operator==(const PageAllocator&, const PageAllocator&) { return true; }
};
using Pages = std::vector<float, PageAllocator<float>>;

// data[k] is the concatenation of `ranges` for kind k. Of a weights-only plan, data[0] alone.
struct Snapshot {
  std::vector<Range> ranges;
  std::array<Pages, kNumKinds> data;
};

// Snapshots of one rank's ranges, all kinds. A save takes one; when the last share of it goes, it
// is free for the next save. One is made at once, on a thread of its own. A second exists only
// where a save had to be given up and its thread, stuck in the file system, still holds the first:
// then that one's place is free when it lets go, or never. At most two are kept.
class SnapshotPool {
 public:
  explicit SnapshotPool(std::vector<Range> ranges);
  ~SnapshotPool();  // snapshots that are still out stay valid
  // With `ranges` set and data of the right size, whatever is in it. Throws std::bad_alloc.
  std::shared_ptr<Snapshot> Take();

 private:
  struct Shelf {
    std::mutex mutex;
    std::vector<std::unique_ptr<Snapshot>> free;  // guarded by mutex
  };
  std::unique_ptr<Snapshot> Make() const;

  const std::vector<Range> ranges_;
  const std::shared_ptr<Shelf> shelf_;  // outlives the pool while snapshots are out
  std::thread first_;
};

}  // namespace contrail::ckpt
