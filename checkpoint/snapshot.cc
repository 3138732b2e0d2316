#include "checkpoint/snapshot.h"

#include <sys/mman.h>

#include <cstring>
#include <system_error>

#include "checkpoint/skeleton.h"

namespace contrail::ckpt {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kMostKept = 2;

// Small arrays stay on small pages.
size_t AlignmentOf(size_t bytes) { return bytes >= kHugePage ? kHugePage : kPage; }

}  // namespace

void* AllocatePages(size_t bytes) {
  void* pages = ::operator new (bytes, std::align_val_t{AlignmentOf(bytes)});
  // Advice only: refused, it changes nothing.
  if (bytes >= kHugePage) ::madvise(pages, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
  return pages;
}

void FreePages(void* pages, size_t bytes) {
  ::operator delete (pages, std::align_val_t{AlignmentOf(bytes)});
}

SnapshotPool::SnapshotPool(std::vector<Range> ranges)
    : ranges_(std::move(ranges)), shelf_(std::make_shared<Shelf>()) {
  try {
    first_ = std::thread([this] {
      try {
        auto snapshot = Make();
        const std::lock_guard lock(shelf_->mutex);
        shelf_->free.push_back(std::move(snapshot));
      } catch (const std::bad_alloc&) {  // the first Take says so
      }
    });
  } catch (const std::system_error&) {  // no thread: the first Take makes it
  }
}

SnapshotPool::~SnapshotPool() {
  if (first_.joinable()) first_.join();
}

std::unique_ptr<Snapshot> SnapshotPool::Make() const {
  auto snapshot = std::make_unique<Snapshot>();
  snapshot->ranges = ranges_;
  for (Pages& data : snapshot->data) {
    data.resize(NumElements(ranges_));
    // Touches every page.
    std::memset(data.data(), 0, data.size() * sizeof(float));
  }
  return snapshot;
}

std::shared_ptr<Snapshot> SnapshotPool::Take() {
  if (first_.joinable()) first_.join();
  std::unique_ptr<Snapshot> snapshot;
  {
    const std::lock_guard lock(shelf_->mutex);
    if (!shelf_->free.empty()) {
      snapshot = std::move(shelf_->free.back());
      shelf_->free.pop_back();
    }
  }
  if (snapshot == nullptr) snapshot = Make();
  return {snapshot.release(), [shelf = shelf_](Snapshot* used) {
            std::unique_ptr<Snapshot> owned(used);
            const std::lock_guard lock(shelf->mutex);
            if (shelf->free.size() < kMostKept) shelf->free.push_back(std::move(owned));
          }};
}

}  // namespace contrail::ckpt
