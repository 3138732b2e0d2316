#pragma once
// Bytes in memory with holes that cost nothing and read as zeros.

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <unordered_map>

namespace contrail::ckpt {

class SparseBytes {
 public:
  void Write(uint64_t offset, const char* data, uint64_t size);
  void Read(uint64_t offset, char* data, uint64_t size) const;
  std::string Read(uint64_t offset, uint64_t size) const;

  uint64_t end = 0;  // of the last byte written, or further where its owner says so

 private:
  static constexpr uint64_t kPage = 4096;
  using Page = std::array<char, kPage>;
  std::unordered_map<uint64_t, std::unique_ptr<Page>> pages_;
};

}  // namespace contrail::ckpt
