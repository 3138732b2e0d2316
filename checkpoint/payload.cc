#include "checkpoint/payload.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#include "checkpoint/format.h"
#include "common/error.h"
#include "common/hash.h"

namespace contrail::ckpt {
namespace {

// While training has every core busy, a writer whose write has ended waits for its turn. Pieces are
// long and writers several so that the disk has enough to do meanwhile (2 GB/s beside two busy
// threads on two cores, where one writer with pieces of 4 MiB came to 0.8).
constexpr uint64_t kPieceBytes = 8 << 20;
constexpr uint64_t kMostWriters = 4;
static_assert(kPieceBytes % kBlockBytes == 0 && kBlockBytes % kPageBytes == 0);

uint64_t CountOf(uint64_t size, uint64_t unit) { return (size + unit - 1) / unit; }

struct Piece {
  Payload* dataset;
  uint64_t at;
  uint64_t size;
};

// Fills in the checksums of one piece; those of blocks are made of those of pages.
void SumUp(const Piece& piece) {
  Payload& dataset = *piece.dataset;
  const char* bytes = dataset.bytes + piece.at;
  uint32_t* pages = dataset.page_crcs.data() + piece.at / kPageBytes;
  Crc32cOfPages(bytes, piece.size, kPageBytes, pages);
  for (uint64_t at = 0; at < piece.size; at += kBlockBytes)
    dataset.block_crcs[(piece.at + at) / kBlockBytes] = Crc32cFromPages(
        pages + at / kPageBytes, std::min(kBlockBytes, piece.size - at), kPageBytes);
}

class Writers {
 public:
  Writers(WritableFile& file, const std::string& path, std::vector<Piece> pieces,
          WriteProgress& progress)
      : file_(file), path_(path), pieces_(std::move(pieces)), progress_(progress) {
    for (const Piece& piece : pieces_) bytes_ += piece.size;
  }

  void Run() {
    std::vector<std::thread> others;
    const uint64_t writers = std::min(kMostWriters, bytes_ / kPieceBytes);
    try {
      while (others.size() + 1 < writers) others.emplace_back([this] { WriteOnesShare(); });
    } catch (const std::system_error&) {  // fewer threads than wished for write it as well
    }
    WriteOnesShare();
    for (std::thread& other : others) other.join();
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void WriteOnesShare() {
    try {
      for (size_t i; (i = next_++) < pieces_.size();) {
        LeaveIfAbandoned(progress_, path_);
        const Piece& piece = pieces_[i];
        SumUp(piece);
        file_.PWriteThrough(piece.dataset->bytes + piece.at, piece.size,
                            piece.dataset->offset + piece.at);
        progress_.bytes_written += piece.size;
      }
    } catch (...) {
      next_.store(pieces_.size());  // the file is condemned: nobody begins another piece
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }

  WritableFile& file_;
  const std::string& path_;
  const std::vector<Piece> pieces_;
  uint64_t bytes_ = 0;
  WriteProgress& progress_;
  std::atomic<size_t> next_{0};
  std::mutex mutex_;
  std::exception_ptr error_;  // guarded by mutex_
};

}  // namespace

void LeaveIfAbandoned(const WriteProgress& progress, const std::string& path) {
  if (progress.abandoned.load()) {
    throw EnvironmentError("E-CKPT-SAVE", path, "this save was given up before it ended");
  }
}

void WritePayload(WritableFile& file, const std::string& path, std::vector<Payload>& datasets,
                  WriteProgress& progress) {
  std::vector<Piece> pieces;
  for (Payload& dataset : datasets) {
    dataset.block_crcs.resize(CountOf(dataset.size, kBlockBytes));
    dataset.page_crcs.resize(CountOf(dataset.size, kPageBytes));
    for (uint64_t at = 0; at < dataset.size; at += kPieceBytes)
      pieces.push_back({&dataset, at, std::min(kPieceBytes, dataset.size - at)});
  }
  Writers(file, path, std::move(pieces), progress).Run();
}

}  // namespace contrail::ckpt
