#pragma once
// Writing one rank's payload: several threads, each with a piece of its own, checksum and write it,
// so that the disk has something to do while the next piece is being summed up. There are no
// buffers: pieces are written from where they lie.

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "common/file_system.h"

namespace contrail::ckpt {

// What the writers show while they write, and hear. Any thread.
struct WriteProgress {
  std::atomic<uint64_t> bytes_written{0};
  std::atomic<bool> abandoned{false};
};

// Throws E-CKPT-SAVE where the save was given up: what is written now is worth nothing.
void LeaveIfAbandoned(const WriteProgress& progress, const std::string& path);

// One dataset: where it lies in memory and in the file, and, afterwards, its checksums: one for
// every kBlockBytes and one for every kPageBytes.
struct Payload {
  const char* bytes = nullptr;
  uint64_t size = 0;
  uint64_t offset = 0;
  std::vector<uint32_t> block_crcs;
  std::vector<uint32_t> page_crcs;
};

// `path` names the file in messages. Returns when all of it has left for the disk; durable it is
// after Sync. Throws the first error, when every thread has ended.
void WritePayload(WritableFile& file, const std::string& path, std::vector<Payload>& datasets,
                  WriteProgress& progress);

}  // namespace contrail::ckpt
