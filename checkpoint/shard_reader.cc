#include "checkpoint/shard_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/error.h"
#include "common/hash.h"

namespace contrail::ckpt {
namespace {

constexpr size_t kMostFiles = 256;
// The other side of an edge is wanted soon or never: a rank alone that reads what 1,024 wrote comes
// back to a page within one bucket, 1,024 edges later.
constexpr uint64_t kMostEdgeBytes = 16 << 20;

std::string SizeText(uint64_t size, uint64_t expected) {
  return "has " + std::to_string(size) + " bytes where COMMIT says " + std::to_string(expected);
}

Extent Overlap(const Extent& a, const Extent& b) {
  return {std::max(a.begin, b.begin), std::min(a.end, b.end)};
}

}  // namespace

void CorruptStep(const std::string& dir, const std::string& file, const std::string& what) {
  throw EnvironmentError("E-CKPT-CORRUPT", dir + "/" + file, what,
                         "use an earlier step (contrail checkpoint list)");
}

void CheckFileOfStep(const FileSystem& fs, const std::string& dir, const std::string& file,
                     uint64_t bytes) {
  uint64_t size = 0;
  try {
    size = fs.FileSize(dir + "/" + file);
  } catch (const IoError& error) {
    if (error.number() == ENOENT) CorruptStep(dir, file, "is missing");
    throw;
  }
  if (size != bytes) CorruptStep(dir, file, SizeText(size, bytes));
}

ShardReader::ShardReader(const FileSystem& fs, const std::string& dir, const Manifest& manifest,
                         bool seen)
    : fs_(fs),
      dir_(dir),
      manifest_(manifest),
      seen_(seen),
      page_bytes_(manifest.page_bytes > 0 ? manifest.page_bytes : manifest.block_bytes) {}

const RankPart& ShardReader::PartOf(const Dataset& dataset) const {
  return manifest_.shards[dataset.shard].parts[dataset.part];
}

void ShardReader::Damaged(const Dataset& dataset, uint64_t block) const {
  CorruptStep(dir_, manifest_.shards[dataset.shard].file,
              DatasetPath(PartOf(dataset).rank, dataset.kind) + " block " + std::to_string(block) +
                  " is damaged: its checksum differs");
}

void ShardReader::Read(const Dataset& dataset, Extent want, char* out) const {
  const RankPart& part = PartOf(dataset);
  const uint64_t total = part.elements() * sizeof(float);
  while (want.begin < want.end) {
    const uint64_t b = want.begin / manifest_.block_bytes;
    const Extent block = {b * manifest_.block_bytes,
                          std::min(total, (b + 1) * manifest_.block_bytes)};
    const Extent here = Overlap(block, want);
    const uint64_t size = here.end - here.begin;
    if (size == block.end - block.begin) {
      const uint64_t offset = part.offset[dataset.kind];
      ReadUnchecked(dataset.shard, {offset + here.begin, offset + here.end}, out);
      if (Crc32c(0, out, size) != part.block_crcs[dataset.kind][b]) Damaged(dataset, b);
    } else {
      ReadPages(dataset, b, block, here, out);
    }
    out += size;
    want.begin = here.end;
  }
}

// A part of one block.
void ShardReader::ReadPages(const Dataset& dataset, uint64_t block, Extent of_block, Extent want,
                            char* out) const {
  const uint64_t first = want.begin / page_bytes_;
  const uint64_t last = (want.end - 1) / page_bytes_;
  const auto extent_of = [&](uint64_t page) {
    return Overlap({page * page_bytes_, (page + 1) * page_bytes_}, of_block);
  };
  const auto is_edge = [&](uint64_t page) {
    const Extent extent = extent_of(page);
    return extent.begin < want.begin || extent.end > want.end;
  };
  // Pages [from, to) are read.
  uint64_t from = first, to = last + 1;
  if (is_edge(first) && TakeFromEdge(dataset, first, want, out)) ++from;
  if (from <= last && last > first && is_edge(last) && TakeFromEdge(dataset, last, want, out)) --to;
  if (from >= to) return;

  const Extent cover = {extent_of(from).begin, extent_of(to - 1).end};
  std::string bytes(cover.end - cover.begin, '\0');
  const RankPart& part = PartOf(dataset);
  const uint64_t offset = part.offset[dataset.kind];
  ReadUnchecked(dataset.shard, {offset + cover.begin, offset + cover.end}, bytes.data());
  if (bytes.size() == of_block.end - of_block.begin) {
    if (Crc32c(0, bytes.data(), bytes.size()) != part.block_crcs[dataset.kind][block])
      Damaged(dataset, block);
  } else {
    std::vector<uint32_t> crcs(to - from);
    Crc32cOfPages(bytes.data(), bytes.size(), page_bytes_, crcs.data());
    const std::vector<uint32_t> expected = PageCrcs(dataset, block, of_block);
    const auto skipped = static_cast<std::ptrdiff_t>(from - of_block.begin / page_bytes_);
    if (!std::equal(crcs.begin(), crcs.end(), expected.begin() + skipped)) Damaged(dataset, block);
  }
  const Extent wanted = Overlap(cover, want);
  std::memcpy(out + (wanted.begin - want.begin), bytes.data() + (wanted.begin - cover.begin),
              wanted.end - wanted.begin);
  for (const uint64_t page : {from, to - 1}) {
    const Extent extent = extent_of(page);
    if (is_edge(page))
      KeepEdge(dataset, page, bytes.substr(extent.begin - cover.begin, extent.end - extent.begin));
    if (from == to - 1) break;
  }
}

// The checksums of a block's pages, checked.
std::vector<uint32_t> ShardReader::PageCrcs(const Dataset& dataset, uint64_t block,
                                            Extent of_block) const {
  {
    const std::lock_guard lock(mutex_);
    const auto known = page_crcs_.find({dataset, block});
    if (known != page_crcs_.end()) return known->second;
  }
  const RankPart& part = PartOf(dataset);
  const uint64_t size = of_block.end - of_block.begin;
  std::vector<uint32_t> crcs((size + page_bytes_ - 1) / page_bytes_);
  const uint64_t pages = (part.elements() * sizeof(float) + page_bytes_ - 1) / page_bytes_;
  const uint64_t first = dataset.kind * pages + of_block.begin / page_bytes_;
  const uint64_t begin = part.page_crcs_offset + first * sizeof(uint32_t);
  ReadUnchecked(dataset.shard, {begin, begin + crcs.size() * sizeof(uint32_t)},
                reinterpret_cast<char*>(crcs.data()));
  if (Crc32cFromPages(crcs.data(), size, page_bytes_) != part.block_crcs[dataset.kind][block])
    Damaged(dataset, block);
  const std::lock_guard lock(mutex_);
  page_crcs_.insert({{dataset, block}, crcs});
  return crcs;
}

bool ShardReader::TakeFromEdge(const Dataset& dataset, uint64_t page, Extent want,
                               char* out) const {
  const std::lock_guard lock(mutex_);
  const auto edge = edges_.find({dataset, page});
  if (edge == edges_.end()) return false;
  const uint64_t begin = page * page_bytes_;
  const Extent wanted = Overlap({begin, begin + edge->second.size()}, want);
  std::memcpy(out + (wanted.begin - want.begin), edge->second.data() + (wanted.begin - begin),
              wanted.end - wanted.begin);
  return true;
}

void ShardReader::KeepEdge(const Dataset& dataset, uint64_t page, std::string bytes) const {
  const std::lock_guard lock(mutex_);
  const Key key = {dataset, page};
  const uint64_t size = bytes.size();
  if (!edges_.insert({key, std::move(bytes)}).second) return;
  edges_by_age_.push_back(key);
  edge_bytes_ += size;
  while (edge_bytes_ > kMostEdgeBytes) {
    const auto oldest = edges_.find(edges_by_age_.front());
    edge_bytes_ -= oldest->second.size();
    edges_.erase(oldest);
    edges_by_age_.pop_front();
  }
}

void ShardReader::ReadUnchecked(size_t shard, Extent want, char* out) const {
  const auto file = FileOf(shard);
  try {
    file->PRead(out, want.end - want.begin, want.begin);
  } catch (const IoError&) {
    // Changed since it was opened?
    const ShardInfo& info = manifest_.shards[shard];
    if (!seen_) CheckFileOfStep(fs_, dir_, info.file, info.file_bytes);
    throw;
  }
  if (on_read_) on_read_(want.end - want.begin);
}

std::shared_ptr<const ReadableFile> ShardReader::FileOf(size_t shard) const {
  const std::lock_guard lock(mutex_);
  const auto open = files_.find(shard);
  if (open != files_.end()) {
    open->second.last_use = ++uses_;
    return open->second.file;
  }
  if (files_.size() >= kMostFiles) {
    files_.erase(std::min_element(files_.begin(), files_.end(), [](const auto& a, const auto& b) {
      return a.second.last_use < b.second.last_use;
    }));
  }
  const ShardInfo& info = manifest_.shards[shard];
  std::shared_ptr<const ReadableFile> file;
  try {
    file = fs_.OpenToRead(dir_ + "/" + info.file);
  } catch (const IoError& error) {
    if (error.number() == ENOENT && !seen_) CorruptStep(dir_, info.file, "is missing");
    throw;
  }
  if (file->size() != info.file_bytes && seen_)
    throw IoError(ESTALE, dir_ + "/" + info.file, "could not see it as other ranks do");
  if (file->size() != info.file_bytes)
    CorruptStep(dir_, info.file, SizeText(file->size(), info.file_bytes));
  files_[shard] = {file, ++uses_};
  return file;
}

}  // namespace contrail::ckpt
