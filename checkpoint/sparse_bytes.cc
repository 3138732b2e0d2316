#include "checkpoint/sparse_bytes.h"

#include <algorithm>

namespace contrail::ckpt {

void SparseBytes::Write(uint64_t offset, const char* data, uint64_t size) {
  end = std::max(end, offset + size);
  while (size > 0) {
    const uint64_t at = offset % kPage;
    const uint64_t n = std::min(size, kPage - at);
    auto& page = pages_[offset / kPage];
    if (page == nullptr) page = std::make_unique<Page>();  // value-initialised: zeros
    std::memcpy(page->data() + at, data, n);
    data += n;
    offset += n;
    size -= n;
  }
}

void SparseBytes::Read(uint64_t offset, char* data, uint64_t size) const {
  while (size > 0) {
    const uint64_t at = offset % kPage;
    const uint64_t n = std::min(size, kPage - at);
    const auto page = pages_.find(offset / kPage);
    if (page == pages_.end())
      std::memset(data, 0, n);
    else
      std::memcpy(data, page->second->data() + at, n);
    data += n;
    offset += n;
    size -= n;
  }
}

std::string SparseBytes::Read(uint64_t offset, uint64_t size) const {
  std::string bytes(size, '\0');
  Read(offset, bytes.data(), size);
  return bytes;
}

}  // namespace contrail::ckpt
